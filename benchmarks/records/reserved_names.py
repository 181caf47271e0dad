"""Reserved names: names of known models, which records of other models must not have, nor names that look alike."""

import re
from functools import cache

from benchmarks.initializers.ghn import ORTH_SUFFIX
from benchmarks.initializers.registry import METHODS, get_method
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.published_results.paper_tables import published_rows
from benchmarks.scoring.zero_cost_proxies import PROXIES
from ghn_models import list_models
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.checkpoints.published_files import PUBLISHED

_LOOK_ALIKE = str.maketrans("0il", "o11")


def name_problem(name: str, weights_sha256: str | None, confirmed: dict[str, str]) -> str:
    """Return what is wrong with the name of a record's model; an empty string if it is free or its own.

    Args:
        name: name of the model.
        weights_sha256: hash of its weights; None if it has none.
        confirmed: hashes of converted published weights by name, confirmed by maintainers.
    """
    weights = name.removesuffix(ORTH_SUFFIX)
    shipped = shipped_weights().get(weights)
    if shipped is not None:
        return "" if shipped == weights_sha256 else f"its weights have another sha256 than the shipped {name}"
    if weights in PUBLISHED:
        if weights not in confirmed:
            return (
                f"{weights} is the name of published weights, whose sha256 no maintainer has confirmed yet; ask for "
                "that, or choose another name"
            )
        return "" if confirmed[weights] == weights_sha256 else f"its weights have another sha256 than {weights}"
    if name in PROXIES or get_method(name) is not None:
        return ""  # a hash of weights would be wrong, which is checked elsewhere
    meant = _reserved().get(normal_form(name))
    return f"its name {name} is, or looks like, {meant}, which is something else; choose another name" if meant else ""


def normal_form(name: str) -> str:
    """Return a name in lower case, without punctuation, and with 0 for o and 1 for i and l, to compare names.

    >>> normal_form("GHN-3-XL") == normal_form("ghn3_x1")
    True
    """
    return re.sub(r"[^a-z0-9]", "", name.lower()).translate(_LOOK_ALIKE)


@cache
def shipped_weights() -> dict[str, str]:
    """Return the sha256 of all shipped weights by name."""
    folders = [path.parent for path in checkpoints.SHIPPED.glob(f"*/{checkpoints.CONFIG}")]
    return {folder.name: checkpoints.sha256(folder / checkpoints.WEIGHTS) for folder in folders}


@cache
def _reserved() -> dict[str, str]:
    """Return the names of weights, models, initializers and proxies, and of rows of papers, by normal form."""
    weights = [*shipped_weights(), *PUBLISHED]
    models = [row.model for protocol in PROTOCOLS for row in published_rows(protocol)]
    names = [*models, *list_models(), *METHODS, *PROXIES, *weights, *(name + ORTH_SUFFIX for name in weights)]
    return {normal_form(name): name for name in names}
