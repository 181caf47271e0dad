"""Leaderboards as tables: CSV for programs, Markdown for people."""

import csv
import io
import re
from collections.abc import Sequence

from benchmarks.core.evaluation_networks import group_label
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.reporting.rows import LeaderboardRow, group_columns


def to_csv(protocol: str, rows: Sequence[LeaderboardRow]) -> str:
    """Return a leaderboard as CSV: accuracies in percent with two digits, empty cells where nothing was measured."""
    groups, summary = group_columns(rows), PROTOCOLS[protocol].summary
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measured = [name for group in groups for name in (group, *(f"{group}_{error}" for error in summary.shown[1:]))]
    empty = (None,) * len(summary.shown)
    head = ("model", "dataset", "setting", "metric", *measured, "networks", "failed", "status", "source", "date")
    writer.writerow(head)
    for row in rows:
        numbers = [number for group in groups for number in row.values.get(group, empty)]
        cells = ["" if number is None else f"{number:.{summary.digits + 1}f}" for number in numbers]
        names = (row.model, row.dataset, row.setting, row.metric)
        texts = [_inert(text) for text in (*names, row.status, row.source, row.date)]
        writer.writerow([*texts[:4], *cells, *_counts(row), *texts[4:]])
    return out.getvalue()


def to_markdown(protocol: str, rows: Sequence[LeaderboardRow]) -> str:
    """Return one Markdown table for each data set, metric and setting; accuracies in percent, mean ± standard error."""
    parts: dict[tuple[str, str, str], list[LeaderboardRow]] = {}
    for row in rows:
        parts.setdefault((row.dataset, row.metric, row.setting), []).append(row)
    texts = []
    for (dataset, metric, setting), part in parts.items():
        groups = group_columns(part)
        head = ["model", *map(group_label, groups), "networks", "failed", "status", "source"]
        texts.append(f"### {_escape(', '.join(filter(None, (dataset, metric, setting))))}\n")
        texts.append(f"| {' | '.join(map(_escape, head))} |\n|{' --- |' * len(head)}")
        for row in part:
            cells = [PROTOCOLS[protocol].summary.text(row.values.get(group, (None,))) for group in groups]
            networks, failed = _counts(row)
            networks = networks if row.complete else f"{row.measured} of {row.needed}"
            line = [_escape(row.model), *cells, networks, failed, _escape(row.status), _escape(row.source)]
            texts.append(f"| {' | '.join(line)} |")
        texts.append("")
    return "\n".join(texts)


def _counts(row: LeaderboardRow) -> list[str]:
    return ["" if count is None else str(count) for count in (row.networks, row.failed)]


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is: no HTML, no cells, links or lines of its own.

    >>> _escape("a|b <b>")
    'a\\\\|b &lt;b>'
    """
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`|\[\]])", r"\\\1", plain)


def _inert(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula.

    >>> _inert("=1+1")
    "'=1+1"
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
