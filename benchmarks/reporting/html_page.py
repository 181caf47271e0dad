"""The leaderboards as one HTML page, which needs nothing else: no server, no network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, read_rows
from benchmarks.reporting.tables import Line, columns


def page(boards: Mapping[str, Sequence[Line]], records: Sequence[tuple[Record, bytes]]) -> str:
    """The page with all leaderboards, and the accuracy of every network of the records.

    Args:
        boards: rows by protocol.
        records: all records and their tables.
    """
    content = {
        "protocols": [_board(name, lines) for name, lines in boards.items()],
        "runs": {record["run_id"]: _run(record, table) for record, table in records},
    }
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return (Path(__file__).parent / "page.html").read_text().replace("{{DATA}}", data)


def _board(name: str, lines: Sequence[Line]) -> dict[str, Any]:
    kind = PROTOCOLS[name]
    digits = kind.summary.digits + 1
    rows = [
        {
            "model": line.model,
            "dataset": line.dataset,
            "setting": line.setting,
            "metric": line.metric,
            "values": {
                g: [None if n is None else round(n, digits) for n in numbers] for g, numbers in line.values.items()
            },
            "networks": line.networks,
            "failed": line.failed,
            "status": line.status,
            "source": line.source,
            "date": line.date,
        }
        for line in lines
    ]
    return {
        "name": name,
        "about": kind.about,
        "groups": columns(lines),
        "lines": rows,
        "digits": kind.summary.digits,
        "bar": 100 / kind.summary.scale,
    }


def _run(record: Record, table: bytes) -> dict[str, Any]:
    """What the page tells of a run: where it comes from, and the accuracies of its networks in percent."""
    rows, kind = read_rows(table), PROTOCOLS[record["protocol"]["name"]]
    about = {
        "command": record["command"],
        "commit": record["commit"] or "unknown",
        "seed": str(record["seed"]),
        "torch": str(record["environment"].get("torch", "")),
        "weights": (record["model"]["weights_sha256"] or "none")[:16],
        "test images": (record["dataset"]["sha256"]["test"] or "unknown")[:16],
    }
    points = {metric: _accuracies(rows, metric) for metric in kind.accuracy_columns}
    pairs = {} if kind.accuracy_columns else _pairs(rows[rows["status"] == "ok"])
    return {"about": about, "points": points, "pairs": pairs, "chance": 100 / record["dataset"]["classes"]}


def _accuracies(rows: pd.DataFrame, metric: str) -> dict[str, list[float]]:
    """Of the networks of each group, in percent; 0 if they failed."""
    values = pd.to_numeric(rows[metric], errors="coerce").where(rows["status"] == "ok", 0.0)
    return {
        str(group): [round(100 * value, 1) for value in sorted(part)]
        for group, part in values.groupby(rows["group"], sort=False)
    }


def _pairs(rows: pd.DataFrame) -> dict[str, list[list[float]]]:
    """Ranks, 0 to 1, of the score and the truth of each network; large scores would hide the others."""
    ranks = rows[["score", "truth"]].apply(pd.to_numeric).rank(pct=True).round(3)
    return {str(group): ranks.loc[part.index].to_numpy().tolist() for group, part in rows.groupby("group", sort=False)}
