"""Leaderboards as tables: CSV for programs, Markdown for people. They are computed from records and published rows."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.networks import EVALUATION_SPLITS
from benchmarks.paper_tables import published_rows
from benchmarks.protocols import PROTOCOLS
from benchmarks.record import Record

_FIRST = (*EVALUATION_SPLITS, "all", "val", "torchvision74", "resnet50", "vit", "darts", "convnext_base", "swin_t")


@dataclass(frozen=True)
class Line:
    """A row of a leaderboard.

    Args:
        model, dataset, setting, metric: what was measured.
        values: mean and standard error, or None, in percent, by group of networks.
        networks, failed: how many, and how many of them failed; None in published rows.
        status: published, self_reported or verified.
        source: paper and table, or the run.
        date: of the run.
    """

    model: str
    dataset: str
    setting: str
    metric: str
    values: dict[str, tuple[float, float | None]]
    networks: int | None
    failed: int | None
    status: str
    source: str
    date: str


def leaderboard(protocol: str, records: Iterable[Record]) -> list[Line]:
    """The rows of a protocol's leaderboard, best first within each data set, setting and metric."""
    lines = [
        Line(row.model, row.dataset, row.setting, row.metric, row.values, None, None, "published", row.source, "")
        for row in published_rows(protocol)
    ]
    for record in records:
        if record["protocol"]["name"] == protocol:
            lines += lines_of(record)
    groups = columns(lines)

    def rank(line: Line) -> tuple[object, ...]:
        means = [-line.values[group][0] if group in line.values else 0.0 for group in groups]
        return line.dataset, line.metric, line.setting, means, line.model, line.source

    return sorted(lines, key=rank)


def lines_of(record: Record) -> list[Line]:
    """The rows of a record, one for each metric."""
    kind = PROTOCOLS[record["protocol"]["name"]]
    results = record["results"]
    setting = kind.setting(kind.read_settings(record["protocol"]["settings"]))
    lines = []
    for metric in kind.metrics:
        values = {g: (100 * r[metric]["mean"], _percent(r[metric]["sem"])) for g, r in results.items()}
        if all(group in results for group in EVALUATION_SPLITS):
            values["all"] = _pooled(results, metric)
        line = Line(
            model=record["model"]["name"],
            dataset=record["dataset"]["name"],
            setting=setting,
            metric=metric,
            values=values,
            networks=sum(result["networks"] for result in results.values()),
            failed=sum(result["failed"] for result in results.values()),
            status=record["status"],
            source=record["run_id"],
            date=record["date"],
        )
        lines.append(line)
    return lines


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _pooled(results: dict[str, dict], metric: str) -> tuple[float, float]:
    """Mean and standard error over the networks of all evaluation splits."""
    parts = [
        (results[g]["networks"], results[g][metric]["mean"], results[g][metric]["std"] or 0.0)
        for g in EVALUATION_SPLITS
    ]
    total = sum(n for n, *_ in parts)
    mean = sum(n * m for n, m, _ in parts) / total
    variance = sum(n * (s**2 + (m - mean) ** 2) for n, m, s in parts) / total
    return 100 * mean, 100 * (variance / total) ** 0.5


def columns(lines: Sequence[Line]) -> list[str]:
    """Groups of networks that have a result, in a fixed order."""
    found = {group for line in lines for group in line.values}
    return [group for group in _FIRST if group in found] + sorted(found.difference(_FIRST))


def to_csv(lines: Sequence[Line]) -> str:
    """Percent with two digits; empty where nothing was measured."""
    groups = columns(lines)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measured = [name for group in groups for name in (group, f"{group}_sem")]
    head = ("model", "dataset", "setting", "metric", *measured, "networks", "failed", "status", "source", "date")
    writer.writerow(head)
    for line in lines:
        numbers = [number for group in groups for number in line.values.get(group, (None, None))]
        cells = ["" if number is None else f"{number:.2f}" for number in numbers]
        counts = ["" if count is None else count for count in (line.networks, line.failed)]
        names = (line.model, line.dataset, line.setting, line.metric)
        writer.writerow([*names, *cells, *counts, line.status, line.source, line.date])
    return out.getvalue()


def to_markdown(lines: Sequence[Line]) -> str:
    """One table for each data set, metric and setting; mean and standard error in percent."""
    parts: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        parts.setdefault((line.dataset, line.metric, line.setting), []).append(line)
    texts = []
    for (dataset, metric, setting), rows in parts.items():
        groups = columns(rows)
        head = ["model", *groups, "failed", "status", "source"]
        texts.append(f"### {dataset}, {metric}{', ' + setting if setting else ''}\n")
        texts.append(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for line in rows:
            cells = [_cell(*line.values[group]) if group in line.values else "" for group in groups]
            failed = "" if line.failed is None else str(line.failed)
            texts.append(f"| {' | '.join([line.model, *cells, failed, line.status, line.source])} |")
        texts.append("")
    return "\n".join(texts)


def _cell(mean: float, error: float | None) -> str:
    return f"{mean:.1f}" + ("" if error is None else f" ± {error:.1f}")


def summary(record: Record) -> str:
    """The results of a run, for the terminal."""
    kind = PROTOCOLS[record["protocol"]["name"]]
    head = ("networks", "count", "failed", *(f"{m} mean ± sem" for m in kind.metrics), f"{kind.metrics[0]} max")
    table = [head]
    for group, result in record["results"].items():
        cells = [_cell(100 * result[m]["mean"], _percent(result[m]["sem"])) for m in kind.metrics]
        best = f"{100 * result[kind.metrics[0]]['max']:.1f}"
        table.append((group, str(result["networks"]), str(result["failed"]), *cells, best))
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    title = f"{record['model']['name']} on {record['dataset']['name']}: {kind.about}, percent"
    lines = [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in table
    ]
    return "\n".join([title, "", *lines, ""])
