"""Statistics of a file of networks: Table 1 of the DeepNets-1M paper for any split.

What takes a pass over the columns of the file is exact; shortest paths, and parameters at the widths that networks
are used with, come from a seeded random sample of the networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.graphs.shortest_paths import average_path_length
from deepnets.sampling.splits import SPLITS
from deepnets.sampling.training_widths import training_widths
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SEED = 0
_PIECE = 1 << 16  # architectures in memory at a time


@dataclass(frozen=True)
class Summary:
    """Range, mean and standard deviation of a quantity over networks."""

    min: float
    max: float
    mean: float
    std: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Summary":
        """Summary of a non-empty array."""
        return cls(values.min().item(), values.max().item(), float(values.mean()), float(values.std()))


@dataclass(frozen=True)
class SplitStatistics:
    """One column of Table 1 of the DeepNets-1M paper.

    Args:
        split: name of the split.
        num_graphs: networks in the file.
        image_size, num_classes: inputs and outputs that widths and parameters are meant for.
        cells, channels, nodes, degree: over all networks.
        without_bn: share of networks without batch normalization, in percent.
        params: trainable parameters in millions, over the sample.
        path_length: average shortest path length of the undirected graph, over the sample.
        primitives: share of each primitive among the nodes of all networks, in percent.
        sample: networks in the sample; all of them if the file has no more than were asked for.
    """

    split: str
    num_graphs: int
    image_size: int
    num_classes: int
    cells: Summary
    channels: Summary
    nodes: Summary
    without_bn: float
    params: Summary
    degree: Summary
    path_length: Summary
    primitives: dict[str, float]
    sample: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def split_statistics(file: NetworkFile, sample: int = 2000) -> SplitStatistics:
    """The statistics of Table 1; the same for every call on the same file.

    Args:
        file: networks; its image size and number of classes decide widths and parameters.
        sample: networks whose paths and parameters are computed.

    Raises:
        ValueError: a sample of fewer than 1 network.
    """
    index = sample_indices(file, sample)
    table = used_architectures(file)
    params = count_parameters(table.rows(index), file.image_size, file.num_classes)
    return SplitStatistics(
        split=file.header.split,
        num_graphs=len(file),
        image_size=file.image_size,
        num_classes=file.num_classes,
        cells=Summary.of(table.n_cells),
        channels=Summary.of(table.channels),
        nodes=Summary.of(file.num_nodes),
        without_bn=100 * (1 - float(table.bn.mean())),
        params=Summary.of(params / 1e6),
        degree=Summary.of(average_degrees(file)),
        path_length=Summary.of(average_path_lengths(file.graphs(index))),
        primitives=_primitive_shares(file),
        sample=len(index),
    )


def sample_indices(file: NetworkFile, sample: int) -> Ints:
    """Indices of a seeded random sample of the networks, ascending; all if there are no more.

    Raises:
        ValueError: a sample of fewer than 1 network.
    """
    if sample < 1:
        raise ValueError(f"the sample is {sample} networks; it must be 1 or more")
    if sample >= len(file):
        return np.arange(len(file))
    return np.sort(np.random.default_rng(_SEED).choice(len(file), sample, replace=False))


def used_architectures(file: NetworkFile) -> ArchitectureTable:
    """All architectures at the widths they are used with, for the image size of the file.

    Evaluation networks have fixed widths; those of train and search are drawn as training does, with a fixed seed.
    Columns that are not drawn stay memory-mapped.
    """
    table = file.table(slice(None))
    split = file.header.split
    if split not in SPLITS or SPLITS[split].width != "fixed":
        return table
    rng = np.random.default_rng(_SEED)
    pieces = [slice(start, start + _PIECE) for start in range(0, len(file), _PIECE)]
    drawn = [training_widths(table.rows(piece), file.num_params()[piece], rng) for piece in pieces]
    channels, fc_dim = (np.concatenate(column) for column in zip(*drawn, strict=True))
    return replace(table.with_channels(channels), fc_dim=fc_dim.astype(np.uint16))


def average_degrees(file: NetworkFile) -> Floats:
    """(B,) average degree 2E / N of all graphs, undirected."""
    degrees: Floats = 2 * np.diff(file.edge_ptr) / np.diff(file.node_ptr)
    return degrees


def average_path_lengths(graphs: GraphColumns) -> Floats:
    """(B,) average length of the shortest paths between pairs of nodes of the undirected graphs.

    Infinite where a graph is not connected.
    """
    lengths = np.empty(len(graphs))
    for b, (nodes, start, stop) in enumerate(
        zip(np.diff(graphs.node_ptr).tolist(), graphs.edge_ptr[:-1].tolist(), graphs.edge_ptr[1:].tolist(), strict=True)
    ):
        lengths[b] = average_path_length(nodes, graphs.edge_src[start:stop], graphs.edge_dst[start:stop])
    return lengths


def primitive_counts(graphs: GraphColumns) -> Ints:
    """(B, 15) nodes of each primitive."""
    net = np.repeat(np.arange(len(graphs)), np.diff(graphs.node_ptr))
    counts = np.bincount(net * len(PRIMITIVES) + graphs.op, minlength=len(graphs) * len(PRIMITIVES))
    return counts.reshape(-1, len(PRIMITIVES))


def _primitive_shares(file: NetworkFile) -> dict[str, float]:
    counts = np.zeros(len(PRIMITIVES), np.int64)
    for piece in file.file.pieces("graphs/op"):
        counts += np.bincount(piece, minlength=len(PRIMITIVES))
    return {name: 100 * count / counts.sum().item() for name, count in zip(PRIMITIVES, counts.tolist(), strict=True)}


def assignment_costs(counts: Ints, others: Ints) -> Ints:
    """Distances between graphs as multisets of nodes: the cost of the best assignment between their nodes.

    Section C.2.4 and Figure 6h of the DeepNets-1M paper compare architectures so, with the Hungarian algorithm. Here
    two nodes cost 0 if they have the same primitive, else 1, and a node without a partner costs 1. The best
    assignment then pairs as many equal nodes as both graphs have, so the algorithm need not be run: the cost is the
    size of the larger graph minus the number of these pairs.

    Args:
        counts: (A, 15) nodes of each primitive.
        others: (B, 15) the same of other graphs.

    Returns:
        (A, B) costs.
    """
    size = np.maximum(counts.sum(axis=1)[:, None], others.sum(axis=1))  # (A, B)
    costs: Ints = size - np.minimum(counts[:, None], others).sum(axis=2)
    return costs


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
    "cells": lambda s: f"{s.cells.min}-{s.cells.max}",
    "channels": lambda s: f"{s.channels.min}-{s.channels.max}",
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


def table_text(columns: Sequence[tuple[str, SplitStatistics]]) -> str:
    """Table 1 as aligned text: a column for each file, followed by the paper's where it has one.

    Args:
        columns: label and statistics of each file.
    """
    labels = [*_ROWS, "% of nodes", *_PAPER_SHARES, "sample"]
    cells = [["", *labels]]
    for label, statistics in columns:
        shares = {name: f"{statistics.primitives[name]:.1f}" for name in _PAPER_SHARES}
        found = {name: row(statistics) for name, row in _ROWS.items()} | shares | {"sample": f"{statistics.sample:,}"}
        cells.append([label, *(found.get(name, "") for name in labels)])
        if statistics.split in PAPER_TABLE_1 and statistics.image_size == 32:
            paper = PAPER_TABLE_1[statistics.split]
            cells.append(["paper", *(paper.get(name, "") for name in labels)])
    widths = [max(map(len, column)) for column in cells]
    first, *rest = [
        [text.ljust(width) if k == 0 else text.rjust(width) for text in column]
        for k, (column, width) in enumerate(zip(cells, widths, strict=True))
    ]
    lines = ["  ".join(line).rstrip() for line in zip(first, *rest, strict=True)]
    return "\n".join([*lines, "", _NOTE])
