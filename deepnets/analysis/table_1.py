"""Table 1 of the DeepNets-1M paper, as printed and for files of networks."""

from collections.abc import Callable, Sequence

from deepnets.analysis.statistics import SplitStatistics
from deepnets.utils.text_table import text_table

_PAPER_ROWS = ("graphs", "cells", "channels", "nodes |V|", "% w/o BN", "params (M)", "avg degree", "avg path")
_PAPER_COLUMNS = {
    "train": ("10^6", "4-18", "16-128", "21-827", "3.5", "0.01-3.1", "2.3±0.1", "14.5±4.8"),
    "val": ("500", "4-18", "32-128", "33-579", "4.1", "2.5-35", "2.3±0.1", "14.5±4.9"),
    "test": ("500", "4-18", "32-128", "33-579", "4.1", "2.5-35", "2.3±0.1", "14.5±4.9"),
    "wide": ("100", "4-18", "128-1216", "33-579", "4.1", "39-101", "2.3±0.1", "14.7±4.9"),
    "deep": ("100", "10-36", "32-208", "74-1017", "2.0", "2.5-15.3", "2.3±0.1", "26.2±9.3"),
    "dense": ("100", "4-18", "32-240", "57-993", "5.0", "2.5-8.8", "2.4±0.1", "15.1±4.1"),
    "bnfree": ("100", "4-18", "32-336", "33-503", "100", "2.5-7.7", "2.4±0.1", "10.0±2.8"),
}
_PAPER_SHARES = {
    "conv": "36.3",
    "bn": "25.5",
    "sum": "11.1",
    "bias": "6.5",
    "sep_conv": "5.1",
    "concat": "3.8",
    "dil_conv": "2.5",
    "ln": "2.5",
    "max_pool": "1.8",
    "avg_pool": "1.7",
    "msa": "1.2",
    "cse": "1.0",
    "input": "0.5",
    "glob_avg": "0.5",
    "pos_enc": "0.2",
}

PAPER_TABLE_1: dict[str, dict[str, str]] = {
    split: dict(zip(_PAPER_ROWS, column, strict=True)) | ({} if split != "train" else _PAPER_SHARES)
    for split, column in _PAPER_COLUMNS.items()
}
"""Table 1 of the DeepNets-1M paper (32x32 inputs) as printed, by split and row; shares are given for train only."""

_ROWS: dict[str, Callable[[SplitStatistics], str]] = {
    "graphs": lambda s: f"{s.num_graphs:,}",
    "cells": lambda s: "-" if s.cells is None else f"{s.cells.min}-{s.cells.max}",
    "channels": lambda s: "-" if s.channels is None else f"{s.channels.min}-{s.channels.max}",
    "nodes |V|": lambda s: f"{s.nodes.min}-{s.nodes.max}",
    "  mean": lambda s: f"{s.nodes.mean:.0f}±{s.nodes.std:.0f}",
    "% w/o BN": lambda s: f"{s.without_bn:.1f}",
    "params (M)": lambda s: f"{_millions(s.params.min)}-{_millions(s.params.max)}",
    "avg degree": lambda s: f"{s.degree.mean:.1f}±{s.degree.std:.1f}",
    "avg path": lambda s: f"{s.path_length.mean:.1f}±{s.path_length.std:.1f}",
}


_NOTE = (
    "Parameters and paths are those of the sample, other rows cover all graphs. "
    "Widths of train and search are drawn as for training."
)


def _millions(params: float) -> str:
    return f"{params:.2f}" if params < 0.1 else f"{params:.1f}"


def format_table_1(columns: Sequence[tuple[str, SplitStatistics]]) -> str:
    """Return Table 1 as aligned text: a column for each file, followed by the paper's column if there is one.

    Args:
        columns: label and statistics of each file.
    """
    labels = [*_ROWS, "% of nodes", *_PAPER_SHARES, "sample"]
    cells = [["", *labels]]
    for label, statistics in columns:
        shares = {name: f"{statistics.primitives[name]:.1f}" for name in _PAPER_SHARES}
        values = {name: row(statistics) for name, row in _ROWS.items()} | shares | {"sample": f"{statistics.sample:,}"}
        cells.append([label, *(values.get(name, "") for name in labels)])
        if statistics.split in PAPER_TABLE_1 and statistics.image_size == 32:
            paper = PAPER_TABLE_1[statistics.split]
            cells.append(["paper", *(paper.get(name, "") for name in labels)])
    lines = [line.rstrip() for line in text_table(list(zip(*cells, strict=True)))]
    return "\n".join([*lines, "", _NOTE])
