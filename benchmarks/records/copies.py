"""Copies of records are found by the results of their networks, whatever they are called.

Two models measured by themselves give few networks the same accuracy, and their accuracies correlate less than 0.95 on
the records of this repository. Copies repeat the results of many networks, or all of them in another order, or are an
almost linear function of the original (shifted, scaled, or with a little noise).
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, read_rows

FEWEST_NETWORKS = 10
MAX_EQUAL_SHARE = 0.5
MAX_CORRELATION = 0.995
_MAX_VALUE_SHARE = 0.05  # a result that more networks than this share have, such as chance, tells nothing


def find_copies(records: Sequence[tuple[Record, bytes]]) -> Iterator[tuple[str, str]]:
    """Yield run_id and problem of each record whose results are those of an earlier one of another model.

    Args:
        records: right records and their tables, on any protocols and data sets.
    """
    earlier: dict[Hashable, list[tuple[Record, pd.DataFrame]]] = {}
    for record, table in records:
        protocol, data = record["protocol"]["name"], record["dataset"]
        results = _results(record, table)
        others = earlier.setdefault((protocol, data["name"], data["image_size"]), [])
        for other, other_results in others:
            likeness = copy_likeness(other_results, results, by_rank=PROTOCOLS[protocol].accepts_scorers)
            if likeness and other["model"]["name"] != record["model"]["name"]:
                yield record["run_id"], f"its results look copied from {other['run_id']}: {likeness}"
        others.append((record, results))


def _results(record: Record, table: bytes) -> pd.DataFrame:
    """Return the main result of each network that did not fail, by group, network and repetition."""
    protocol, rows = PROTOCOLS[record["protocol"]["name"]], read_rows(table)
    rows = rows[rows["status"] == "ok"].set_index(["group", "index", "repeat"])
    columns = [name for name in (protocol.accuracy_columns or ("score",)) if name in rows]
    return rows[columns].astype(float)


def copy_likeness(first: pd.DataFrame, second: pd.DataFrame, by_rank: bool) -> str:
    """Return how the second table of results resembles the first, an empty string if it is not like a copy.

    Args:
        first, second: (n, c) results by network, the main one first; networks in only one of them do not count.
        by_rank: results are scores of any size, whose order counts.
    """
    shared = first.index.intersection(second.index)
    first, second = first.loc[shared], second.loc[shared]
    main, other = first.iloc[:, 0], second.iloc[:, 0]
    telling = main.map(main.value_counts()) <= max(1, _MAX_VALUE_SHARE * len(main))  # (n,)
    main, other, number = main[telling], other[telling], int(telling.sum())
    if number < FEWEST_NETWORKS:
        return ""
    equal = int((main == other).sum())
    if equal >= MAX_EQUAL_SHARE * number:
        return f"{equal} of {number} networks have the same"
    common = Counter(first[telling].itertuples(index=False)) & Counter(second.itertuples(index=False))
    if common.total() >= 0.95 * number and len(first.columns) > 1:
        return f"{common.total()} of {number} networks have the same, in another order"
    if other.nunique() < 2:
        return ""
    with np.errstate(over="ignore", invalid="ignore"):
        result = spearmanr(main, other) if by_rank else pearsonr(main, other)
    correlation = abs(float(result[0]))
    if correlation >= MAX_CORRELATION:
        return f"they correlate by {correlation:.4f} over {number} networks"
    return ""
