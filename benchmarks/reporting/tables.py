"""Leaderboards as tables: CSV for programs, Markdown for people."""

import csv
import io
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
        writer.writerow([*names, *cells, *_counts(row), row.status, row.source, row.date])
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
        texts.append(f"### {dataset}, {metric}{', ' + setting if setting else ''}\n")
        texts.append(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for row in part:
            cells = [PROTOCOLS[protocol].summary.text(row.values.get(group, (None,))) for group in groups]
            texts.append(f"| {' | '.join([row.model, *cells, *_counts(row), row.status, row.source])} |")
        texts.append("")
    return "\n".join(texts)


def _counts(row: LeaderboardRow) -> list[str]:
    return ["" if count is None else str(count) for count in (row.networks, row.failed)]
