"""Rows of leaderboards, computed from records and published results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, networks_in
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.published_results.paper_tables import SINGLE_NETWORKS, published_rows
from benchmarks.records.record import Record

# Columns of the ten best networks of a group, and the splits that a run must have completely to get such a column.
_TOP_COLUMNS = {"all": "top10", "torchvision74": "torchvision74_top10"}
_NEEDED_SPLITS = {"all": EVALUATION_SPLITS, "torchvision74": ("torchvision74",)}
_COLUMN_ORDER = (
    *EVALUATION_SPLITS,
    "all",
    "top10",
    "val",
    "torchvision74",
    "torchvision74_top10",
    *SINGLE_NETWORKS,
)
# Share of networks that must have a score: correlations over the easy ones alone are higher.
_ENOUGH_SCORES = 0.95


@dataclass(frozen=True)
class LeaderboardRow:
    """A row of a leaderboard.

    Args:
        model, dataset, setting, metric: the model, and how it was measured.
        values: the numbers of a table cell by group of networks, e.g. mean and standard error in percent.
        networks, failed: number of networks, and how many of them failed at least once; None in published rows.
        measured, needed: number of networks that the values come from, and that of a complete row; None in published
            rows, which count as complete.
        complete: whether the row is ranked; others are listed after those that are.
        status: published, self_reported, unverified_code (as self_reported, but the code had changes or no commit) or
            verified.
        source: paper and table, or run_id.
        date: date of the run; empty in published rows.
    """

    model: str
    dataset: str
    setting: str
    metric: str
    values: dict[str, tuple[float | None, ...]]
    networks: int | None
    failed: int | None
    measured: int | None
    needed: int | None
    complete: bool
    status: str
    source: str
    date: str


def leaderboard_rows(protocol: str, records: Iterable[Record]) -> list[LeaderboardRow]:
    """Return the rows of a protocol's leaderboard, best first within each data set, metric and setting.

    Complete rows come first: a mean over a few networks is not compared with that over all of them.
    """
    rows = [
        LeaderboardRow(
            model=row.model,
            dataset=row.dataset,
            setting=row.setting,
            metric=row.metric,
            values=row.values,
            networks=None,
            failed=None,
            measured=None,
            needed=None,
            complete=True,
            status="published",
            source=row.source,
            date="",
        )
        for row in published_rows(protocol)
    ]
    for record in records:
        if record["protocol"]["name"] == protocol:
            rows += record_rows(record)
    groups = group_columns(rows)

    def rank(row: LeaderboardRow) -> tuple[object, ...]:
        means = [-(row.values.get(group, (0.0,))[0] or 0.0) for group in groups]
        return row.dataset, row.metric, row.setting, not row.complete, means, row.model, row.source

    return sorted(rows, key=rank)


def record_rows(record: Record) -> list[LeaderboardRow]:
    """Return the rows of a record, one for each metric.

    The mean over some networks of a split, and the ten best of them, cannot be compared with those of the whole split.
    Runs of incomplete splits therefore have no columns `all` and `top10`.
    """
    protocol, results = PROTOCOLS[record["protocol"]["name"]], record["results"]
    summary = protocol.summary
    complete = [group for group, splits in _NEEDED_SPLITS.items() if all(_is_complete(record, s) for s in splits)]
    rows = []
    for metric in protocol.metrics:
        values = {g: summary.cell(r[metric]) for g, r in results.items() if g != "all" or g in complete}
        if "selection" in record:  # of its single networks nobody asks
            values = {record["selection"]["name"]: values[record["selection"]["name"]]}
        if summary.best:
            values |= {_TOP_COLUMNS[g]: summary.cell(results[g][metric], summary.best) for g in complete}
        measured, needed = count_networks(record, metric)
        row = LeaderboardRow(
            model=record["model"]["name"],
            dataset=record["dataset"]["name"],
            setting=describe_setting(record),
            metric=metric,
            values=values,
            networks=sum(record["networks"].values()),
            failed=sum(result["failed"] for group, result in results.items() if group != "all"),
            measured=measured,
            needed=needed,
            complete=measured >= (1 if summary.per_network else _ENOUGH_SCORES) * needed,
            status=describe_status(record),
            source=record["run_id"],
            date=record["date"],
        )
        rows.append(row)
    return rows


def count_networks(record: Record, metric: str) -> tuple[int, int]:
    """Return the number of networks that a record's numbers come from, and the number that a complete record needs.

    A complete record has all networks of its groups. If it has one of the protocol's usual groups, or one evaluation
    split, it needs all of these, so that nobody leaves out the hard ones. A network that failed counts with accuracy 0;
    in rank correlations it does not count.
    """
    protocol, groups = PROTOCOLS[record["protocol"]["name"]], set(record["networks"])
    for usual in (protocol.default_groups, EVALUATION_SPLITS):
        groups |= set(usual) if groups.intersection(usual) else set()
    needed = sum(len(networks_in(group)) for group in groups)
    if protocol.summary.per_network:
        return sum(record["networks"].values()), needed
    return sum(result[metric]["n"] for group, result in record["results"].items() if group != "all"), needed


def describe_status(record: Record) -> str:
    """Return the status of a record's rows.

    Self-reported results of code with uncommitted changes, or outside of a repository, are `unverified_code`.
    """
    own_code = record["commit"] is None or record["commit"].endswith("+changes")
    return "unverified_code" if own_code and record["status"] == "self_reported" else record["status"]


def _is_complete(record: Record, group: str) -> bool:
    return record["networks"].get(group) == len(networks_in(group))


def describe_setting(record: Record) -> str:
    """Return what differs from the defaults of a record's protocol and data set, as text."""
    protocol = PROTOCOLS[record["protocol"]["name"]]
    size, layer = record["dataset"]["image_size"], record["model"]["orth_layer"]
    parts = [
        protocol.describe_settings(protocol.read_settings(record["protocol"]["settings"])),
        f"{size} pixels" if size != protocol.default_image_size(record["dataset"]["name"]) else "",
        f"orthogonal from layer {layer} on" if layer else "",
        f"seed {record['seed']}" if record["seed"] else "",
        f"networks of {record['networks_from']['source']}" if "networks_from" in record else "",
        "ten best selected before" if "selection" in record else "",
    ]
    return ", ".join(filter(None, parts))


def group_columns(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Return the groups of networks that have a result, in the order of columns."""
    groups = {group for row in rows for group in row.values}
    return [group for group in _COLUMN_ORDER if group in groups] + sorted(groups.difference(_COLUMN_ORDER))
