"""The result of a run as text for the terminal."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmarks.core.evaluation_networks import group_label
from benchmarks.core.protocol import Protocol
from benchmarks.core.ranking_quality import PROPOSED
from benchmarks.core.summaries import TOP
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record
from benchmarks.reporting.rows import describe_setting
from deepnets.utils.text_table import text_table


def summarize_run(record: Record) -> str:
    """Return the results of a run as a table with a title."""
    protocol = PROTOCOLS[record["protocol"]["name"]]
    largest = max(result["networks"] for result in record["results"].values())
    columns = [(metric, head, names) for metric in protocol.metrics for head, names in _columns(protocol, largest)]
    table = [("networks", "count", "failed", *(f"{metric} {head}" for metric, head, _ in columns))]
    for group, result in record["results"].items():
        group_name = group_label(group)
        cells = [protocol.summary.text(protocol.summary.cell(result[metric], names)) for metric, _, names in columns]
        table.append((group_name, str(result["networks"]), str(result["failed"]), *cells))
    unit = ", percent" if protocol.accuracy_columns else ""
    what = f"{record['model']['name']} on {record['dataset']['name']}"
    run = ", ".join(filter(None, [what, describe_setting(record)]))
    lines = [f"{run}: {protocol.about}{unit}", "", *text_table(table), ""]
    return "\n".join([*lines, *_ranking_lines(record)])


def _ranking_lines(record: Record) -> list[str]:
    """Return how well the best architectures are found, for groups that have these statistics."""
    rows = [("networks", "Spearman", "tau of the best 10%", *(f"regret of the best of {k}" for k in PROPOSED))]
    for group, result in record["results"].items():
        statistics = result.get("tau", {})
        if "spearman" in statistics:
            names = ("spearman", "tau_top", *(f"regret_{k}" for k in PROPOSED))
            rows.append((group_label(group), *(_interval(statistics, name) for name in names)))
    return [*text_table(rows), ""] if len(rows) > 1 else []


def _interval(statistics: Mapping[str, float | None], name: str) -> str:
    value, low, high = (statistics[f"{name}{limit}"] for limit in ("", "_low", "_high"))
    return "" if value is None else f"{value:.3f}" if None in (low, high) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _columns(protocol: Protocol[Any, Any], networks: int) -> list[tuple[str, tuple[str, ...]]]:
    """Return head and statistics of the columns of a metric; the ten best are shown if there are more networks."""
    if not protocol.accuracy_columns:
        return [("[95% interval]", protocol.summary.shown)]
    top = [(f"best {TOP}", ("top10",))] if networks > TOP else []
    return [("mean ± sem", ("mean", "sem")), *top, ("best", ("max",))]


def summarize_failures(rows: pd.DataFrame, most: int = 3) -> str:
    """Return the most frequent reasons of failed networks, one line each; an empty string if none failed."""
    counts = rows.loc[rows["status"] == "failed", "reason"].value_counts()
    lines = [f"{count} failed: {reason}" for reason, count in counts.head(most).items()]
    others = int(counts[most:].sum())
    if others:
        lines.append(f"{others} failed for other reasons")
    return "\n".join([*lines, ""]) if lines else ""
