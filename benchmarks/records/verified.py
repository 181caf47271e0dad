"""Entries of `verified.json`: who measured a sample of a record again, when, with which code, and which sample."""

import re
from datetime import UTC, datetime
from typing import Any, TypedDict

from benchmarks.records.record import Record, RecordError
from deepnets.utils import provenance

_FORMS = {
    "rows_sha256": "[0-9a-f]{64}",
    "by": "[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,79}",
    "date": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "commit": "[0-9a-f]{40}",
}


class Verification(TypedDict):
    """A maintainer's word that a sample of a record was measured again and agreed.

    `seed` and `networks`, the size of the sample, let anybody measure the same sample.
    """

    rows_sha256: str
    by: str
    date: str
    commit: str
    seed: int
    networks: int


def sign_off(record: Record, by: str | None, seed: int, networks: int) -> Verification:
    """Return the entry of a record whose sample agreed.

    Raises:
        RecordError: nobody signs, or the code is not that of a commit, so nobody could repeat the verification.
    """
    if by is None or re.fullmatch(_FORMS["by"], by) is None:
        raise RecordError("who verified it? give a name of letters, digits and ._@+- as --by")
    commit = provenance.commit()
    if commit is None or commit.endswith("+changes"):
        raise RecordError("records are marked by code without changes, from a repository; commit or stash yours first")
    return {
        "rows_sha256": record["rows_sha256"],
        "by": by,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "seed": seed,
        "networks": networks,
    }


def entry_problem(entry: Any, records: dict[str, Record], run_id: str) -> str:
    """Return what is wrong with an entry of `verified.json`, an empty string if nothing is."""
    if not isinstance(entry, dict) or entry.keys() != Verification.__annotations__.keys():
        return f"its entry of {run_id!r} must have {', '.join(Verification.__annotations__)}"
    for name, form in _FORMS.items():
        if not isinstance(entry[name], str) or re.fullmatch(form, entry[name]) is None:
            return f"its entry of {run_id!r} has no right {name}"
    if any(type(entry[name]) is not int or entry[name] < 0 for name in ("seed", "networks")) or not entry["networks"]:
        return f"its entry of {run_id!r} has no right sample"
    record = records.get(run_id)
    if record is None or record["rows_sha256"] != entry["rows_sha256"]:
        return f"it has {run_id!r}, but there is no such record"
    return ""
