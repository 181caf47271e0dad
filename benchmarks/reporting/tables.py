"""Leaderboards as tables: CSV for programs, Markdown for people. They are computed from records and published rows."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, networks_in
from benchmarks.core.protocol import Protocol
from benchmarks.core.summaries import TOP
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.published_results.paper_tables import SINGLE, published_rows
from benchmarks.records.record import Record

# Columns with the ten best networks of a group, and what it consists of.
_TOP_COLUMNS = {"all": "top10", "torchvision74": "torchvision74_top10"}
_PARTS = {"all": EVALUATION_SPLITS, "torchvision74": ("torchvision74",)}
_FIRST = (*EVALUATION_SPLITS, "all", "top10", "val", "torchvision74", "torchvision74_top10", *SINGLE)


@dataclass(frozen=True)
class Line:
    """A row of a leaderboard.

    Args:
        model, dataset, setting, metric: what was measured.
        values: by group of networks, what the protocol's summary shows: mean and standard error in percent.
        networks, failed: how many, and how many of them failed, once or more; None in published rows.
        status: published, self_reported or verified.
        source: paper and table, or the run.
        date: of the run.
    """

    model: str
    dataset: str
    setting: str
    metric: str
    values: dict[str, tuple[float | None, ...]]
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
        means = [-(line.values.get(group, (0.0,))[0] or 0.0) for group in groups]
        return line.dataset, line.metric, line.setting, means, line.model, line.source

    return sorted(lines, key=rank)


def lines_of(record: Record) -> list[Line]:
    """The rows of a record, one for each metric.

    The means of some of all networks, and the ten best of some, cannot be compared with those of all.
    """
    kind = PROTOCOLS[record["protocol"]["name"]]
    results = record["results"]
    complete = [group for group, parts in _PARTS.items() if all(_is_complete(record, part) for part in parts)]
    lines = []
    for metric in kind.metrics:
        values = {g: kind.summary.cell(r[metric]) for g, r in results.items() if g != "all" or g in complete}
        if kind.summary.best:
            best = {_TOP_COLUMNS[g]: kind.summary.cell(results[g][metric], kind.summary.best) for g in complete}
            values |= best
        line = Line(
            model=record["model"]["name"],
            dataset=record["dataset"]["name"],
            setting=_setting(record),
            metric=metric,
            values=values,
            networks=sum(record["networks"].values()),
            failed=sum(result["failed"] for group, result in results.items() if group != "all"),
            status=record["status"],
            source=record["run_id"],
            date=record["date"],
        )
        lines.append(line)
    return lines


def _is_complete(record: Record, group: str) -> bool:
    return bool(record["networks"].get(group) == len(networks_in(group)))


def _setting(record: Record) -> str:
    """All of how a run was made that its data set and protocol do not say."""
    kind, size, layer = (
        PROTOCOLS[record["protocol"]["name"]],
        record["dataset"]["image_size"],
        record["model"]["orth_layer"],
    )
    parts = [
        kind.describe_settings(kind.read_settings(record["protocol"]["settings"])),
        f"{size} pixels" if size != kind.default_image_size(record["dataset"]["name"]) else "",
        f"orthogonal from layer {layer} on" if layer else "",
    ]
    return ", ".join(filter(None, parts))


def columns(lines: Sequence[Line]) -> list[str]:
    """Groups of networks that have a result, in a fixed order."""
    found = {group for line in lines for group in line.values}
    return [group for group in _FIRST if group in found] + sorted(found.difference(_FIRST))


def to_csv(protocol: str, lines: Sequence[Line]) -> str:
    """Accuracies in percent with two digits; empty where nothing was measured."""
    groups, summary = columns(lines), PROTOCOLS[protocol].summary
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measured = [name for group in groups for name in (group, *(f"{group}_{error}" for error in summary.shown[1:]))]
    nothing = (None,) * len(summary.shown)
    head = ("model", "dataset", "setting", "metric", *measured, "networks", "failed", "status", "source", "date")
    writer.writerow(head)
    for line in lines:
        numbers = [number for group in groups for number in line.values.get(group, nothing)]
        cells = ["" if number is None else f"{number:.{summary.digits + 1}f}" for number in numbers]
        counts = ["" if count is None else count for count in (line.networks, line.failed)]
        names = (line.model, line.dataset, line.setting, line.metric)
        writer.writerow([*names, *cells, *counts, line.status, line.source, line.date])
    return out.getvalue()


def to_markdown(protocol: str, lines: Sequence[Line]) -> str:
    """One table for each data set, metric and setting; accuracies are mean and standard error in percent."""
    parts: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        parts.setdefault((line.dataset, line.metric, line.setting), []).append(line)
    texts = []
    for (dataset, metric, setting), rows in parts.items():
        groups = columns(rows)
        head = ["model", *groups, "networks", "failed", "status", "source"]
        texts.append(f"### {dataset}, {metric}{', ' + setting if setting else ''}\n")
        texts.append(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for line in rows:
            cells = [PROTOCOLS[protocol].summary.text(line.values.get(group, (None,))) for group in groups]
            counts = ["" if count is None else str(count) for count in (line.networks, line.failed)]
            texts.append(f"| {' | '.join([line.model, *cells, *counts, line.status, line.source])} |")
        texts.append("")
    return "\n".join(texts)


def summary(record: Record) -> str:
    """The results of a run, for the terminal."""
    kind = PROTOCOLS[record["protocol"]["name"]]
    most = max(result["networks"] for result in record["results"].values())
    shown = [(metric, name, names) for metric in kind.metrics for name, names in _shown(kind, most).items()]
    table = [("networks", "count", "failed", *(f"{metric} {name}" for metric, name, _ in shown))]
    for group, result in record["results"].items():
        cells = [kind.summary.text(kind.summary.cell(result[metric], names)) for metric, _, names in shown]
        table.append((group, str(result["networks"]), str(result["failed"]), *cells))
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    unit = ", percent" if kind.accuracy_columns else ""
    run = ", ".join(filter(None, [f"{record['model']['name']} on {record['dataset']['name']}", _setting(record)]))
    title = f"{run}: {kind.about}{unit}"
    lines = [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in table
    ]
    return "\n".join([title, "", *lines, ""])


def failures(rows: pd.DataFrame, most: int = 3) -> str:
    """The most frequent reasons of networks that failed, for the terminal; nothing if there are none."""
    counts = rows.loc[rows["status"] == "failed", "reason"].value_counts()
    lines = [f"{count} failed: {reason}" for reason, count in counts.head(most).items()]
    more = int(counts[most:].sum())
    return "\n".join([*lines, *([f"{more} failed for other reasons"] if more else []), ""] if lines else [])


def _shown(kind: Protocol, networks: int) -> dict[str, tuple[str, ...]]:
    """Columns of a metric in the terminal, for groups of so many networks: head and statistics."""
    if not kind.accuracy_columns:
        return {"[95% interval]": kind.summary.shown}
    top = {f"best {TOP}": ("top10",)} if networks > TOP else {}
    return {"mean ± sem": ("mean", "sem"), **top, "best": ("max",)}
