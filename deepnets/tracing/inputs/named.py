"""Calls by the signature of `forward`: each argument gets what its name stands for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from torch import Tensor

from deepnets.tracing.inputs.arguments import Arguments
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.graphs import node_features
from deepnets.tracing.inputs.kinds.registry import MAKERS
from deepnets.tracing.inputs.layers import first_argument

_ALTERNATIVES = 8  # tensors that are tried for one argument


def combinations(choices: Mapping[str, Iterable[Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Provide arguments by name: the most likely of each; then other ones, in step; then one at a time.

    Args:
        choices: for each argument what it may be, the most likely first.
    """
    options = {name: list(islice(tensors, _ALTERNATIVES)) for name, tensors in choices.items()}
    if not all(options.values()):
        return
    yield {name: tensors[0] for name, tensors in options.items()}
    for step in range(1, max((len(tensors) for tensors in options.values()), default=0)):
        yield {name: tensors[min(step, len(tensors) - 1)] for name, tensors in options.items()}
    for name, tensors in options.items():
        for tensor in tensors[1:] if len(options) > 1 else ():
            yield {other: choice[0] for other, choice in options.items()} | {name: tensor}


def makers_of(names: Sequence[str], facts: Facts) -> dict[str, Iterable[Tensor]] | None:
    """Return what arguments may be, by name, or None if a name is unknown."""
    return {name: MAKERS[name](facts) for name in names} if all(name in MAKERS for name in names) else None


def calls_by_signature(facts: Facts) -> Iterator[Arguments]:
    """Provide calls with the arguments that have no default, or with the first argument alone."""
    names = facts.required or list(facts.forward)[:1]
    for arguments in combinations({name: _choices(name, facts) for name in names}):
        yield tuple(arguments.values()), {}
    if len(names) != 1:
        yield from (((tensor,), {}) for tensor in first_argument(facts))


def _choices(name: str, facts: Facts) -> Iterator[Tensor]:
    """Provide what an argument may be: what its name stands for, and what the first layer reads."""
    if "edge_index" in facts.forward and name not in MAKERS:
        yield from node_features(facts)
    if name in MAKERS:
        yield from MAKERS[name](facts)
    else:
        yield from first_argument(facts)
