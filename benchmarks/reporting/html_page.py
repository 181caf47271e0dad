"""The leaderboards as one HTML page, which works offline: style, script and data are in the file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

import pandas as pd

from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, read_rows
from benchmarks.reporting.rows import LeaderboardRow, group_columns

_HERE = Path(__file__).parent


class _Board(TypedDict):
    """A leaderboard, as `page.js` reads it; `bar` scales values to the percent of a cell's width."""

    name: str
    about: str
    groups: list[str]
    lines: list[dict[str, object]]
    digits: int
    bar: float


class _Run(TypedDict):
    """Details of a run, as `page.js` reads them.

    `points` are accuracies by metric and group in percent; `pairs` are ranks of score and truth by group, where the
    protocol is about scores.
    """

    about: dict[str, str]
    points: dict[str, dict[str, list[float]]]
    pairs: dict[str, list[list[float]]]
    chance: float


def render_page(boards: Mapping[str, Sequence[LeaderboardRow]], records: Sequence[tuple[Record, bytes]]) -> str:
    """Return the page with all leaderboards, and with the result of every network of the records.

    Args:
        boards: rows by protocol.
        records: all records and their tables.
    """
    content = {
        "protocols": [_board(name, rows) for name, rows in boards.items()],
        "runs": {record["run_id"]: _run(record, table) for record, table in records},
    }
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    script = (_HERE / "page.js").read_text()
    return (_HERE / "page.html").read_text().replace("{{SCRIPT}}", script).replace("{{DATA}}", data)


def _board(name: str, rows: Sequence[LeaderboardRow]) -> _Board:
    protocol = PROTOCOLS[name]
    digits = protocol.summary.digits + 1

    def rounded(numbers: tuple[float | None, ...]) -> list[float | None]:
        return [None if number is None else round(number, digits) for number in numbers]

    lines = [asdict(row) | {"values": {g: rounded(numbers) for g, numbers in row.values.items()}} for row in rows]
    return {
        "name": name,
        "about": protocol.about,
        "groups": group_columns(rows),
        "lines": lines,
        "digits": protocol.summary.digits,
        "bar": 100 / protocol.summary.scale,
    }


def _run(record: Record, table: bytes) -> _Run:
    rows, protocol = read_rows(table), PROTOCOLS[record["protocol"]["name"]]
    about = {
        "command": record["command"],
        "commit": record["commit"] or "unknown",
        "seed": str(record["seed"]),
        "torch": str(record["environment"].get("torch", "")),
        "weights": (record["model"]["weights_sha256"] or "none")[:16],
        "test images": (record["dataset"]["sha256"]["test"] or "unknown")[:16],
    }
    points = {metric: _accuracies(rows, metric) for metric in protocol.accuracy_columns}
    pairs = {} if protocol.accuracy_columns else _rank_pairs(rows[rows["status"] == "ok"])
    return {"about": about, "points": points, "pairs": pairs, "chance": 100 / record["dataset"]["classes"]}


def _accuracies(rows: pd.DataFrame, metric: str) -> dict[str, list[float]]:
    """Return the accuracies of each group's networks in percent, sorted; 0 for networks that failed."""
    values = pd.to_numeric(rows[metric], errors="coerce").where(rows["status"] == "ok", 0.0)
    return {
        str(group): [round(100 * value, 1) for value in sorted(part)]
        for group, part in values.groupby(rows["group"], sort=False)
    }


def _rank_pairs(rows: pd.DataFrame) -> dict[str, list[list[float]]]:
    """Return the ranks of score and truth of each network, 0 to 1; a few huge scores would hide the others."""
    ranks = rows[["score", "truth"]].apply(pd.to_numeric).rank(pct=True).round(3)
    return {str(group): ranks.loc[part.index].to_numpy().tolist() for group, part in rows.groupby("group", sort=False)}
