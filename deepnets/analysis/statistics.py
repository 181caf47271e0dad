"""Statistics of a file of networks: Table 1 of the DeepNets-1M paper for any split.

Statistics that take one pass over the columns of the file are exact. Shortest paths, and parameters at the widths at
which networks are used, are those of a seeded random sample of the networks.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.graphs.shortest_paths import average_path_length
from deepnets.sampling.splits import SPLITS
from deepnets.sampling.training_widths import with_training_widths
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters
from deepnets.utils.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SEED = 0
_PIECE = 1 << 16  # architectures in memory at a time


@dataclass(frozen=True)
class SummaryStatistics:
    """Range, mean and standard deviation of a quantity over networks."""

    min: float
    max: float
    mean: float
    std: float

    @classmethod
    def from_values(cls, values: NDArray[Any]) -> "SummaryStatistics":
        """Summarize a non-empty array."""
        return cls(values.min().item(), values.max().item(), float(values.mean()), float(values.std()))


@dataclass(frozen=True)
class SplitStatistics:
    """One column of Table 1 of the DeepNets-1M paper.

    Args:
        split: name of the split.
        num_graphs: networks in the file.
        image_size, num_classes: inputs and outputs that widths and parameters refer to.
        cells, channels, nodes, degree: over all networks.
        without_bn: share of networks without batch normalization, in percent.
        params: trainable parameters in millions, over the sample.
        path_length: average shortest path length of the undirected graph, over the sample.
        primitives: share of each primitive among the nodes of all networks, in percent.
        sample: networks in the sample; all of them if the file has no more.
    """

    split: str
    num_graphs: int
    image_size: int
    num_classes: int
    cells: SummaryStatistics
    channels: SummaryStatistics
    nodes: SummaryStatistics
    without_bn: float
    params: SummaryStatistics
    degree: SummaryStatistics
    path_length: SummaryStatistics
    primitives: dict[str, float]
    sample: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def split_statistics(file: NetworkFile, sample: int = 2000) -> SplitStatistics:
    """Compute the statistics of Table 1; every call on a file returns the same.

    Args:
        file: networks; widths and parameters are those for its image size and number of classes.
        sample: networks whose paths and parameters are computed.

    Raises:
        InputError: a sample of fewer than 1 network.
    """
    index = sample_indices(file, sample)
    table = architectures_in_use(file)
    params = count_parameters(table.take(index), file.image_size, file.num_classes)
    return SplitStatistics(
        split=file.header.split,
        num_graphs=len(file),
        image_size=file.image_size,
        num_classes=file.num_classes,
        cells=SummaryStatistics.from_values(table.n_cells),
        channels=SummaryStatistics.from_values(table.channels),
        nodes=SummaryStatistics.from_values(file.num_nodes),
        without_bn=100 * (1 - float(table.bn.mean())),
        params=SummaryStatistics.from_values(params / 1e6),
        degree=SummaryStatistics.from_values(average_degrees(file)),
        path_length=SummaryStatistics.from_values(average_path_lengths(file.graphs(index))),
        primitives=_primitive_shares(file),
        sample=len(index),
    )


def sample_indices(file: NetworkFile, sample: int) -> Ints:
    """Return the ascending indices of a seeded random sample of the networks; all if there are no more.

    Raises:
        InputError: a sample of fewer than 1 network.
    """
    if sample < 1:
        raise InputError(f"the sample is {sample} networks; it must be 1 or more")
    if sample >= len(file):
        return np.arange(len(file))
    return np.sort(np.random.default_rng(_SEED).choice(len(file), sample, replace=False))


def architectures_in_use(file: NetworkFile) -> ArchitectureTable:
    """Return all architectures at the widths at which they are used, for the image size of the file.

    Evaluation networks have fixed widths; those of train and search are sampled as in training, with a fixed seed.
    Other columns stay memory-mapped.
    """
    table = file.table(slice(None))
    split = file.header.split
    if split not in SPLITS or SPLITS[split].width != "fixed":
        return table
    rng = np.random.default_rng(_SEED)
    pieces = [slice(start, start + _PIECE) for start in range(0, len(file), _PIECE)]
    tables = [with_training_widths(table.take(piece), file.num_params()[piece], rng) for piece in pieces]
    channels, fc_dim = (np.concatenate([getattr(t, name) for t in tables]) for name in ("channels", "fc_dim"))
    return replace(table, channels=channels, fc_dim=fc_dim)


def average_degrees(file: NetworkFile) -> Floats:
    """Return the (B,) average degrees 2E / N of all graphs, undirected."""
    degrees: Floats = 2 * np.diff(file.edge_ptr) / np.diff(file.node_ptr)
    return degrees


def average_path_lengths(graphs: GraphColumns) -> Floats:
    """Return the (B,) average lengths of the shortest paths between pairs of nodes of the undirected graphs.

    Infinite where a graph is not connected.
    """
    return np.array(
        [
            average_path_length(nodes.stop - nodes.start, graphs.edge_src[edges], graphs.edge_dst[edges])
            for nodes, edges in graphs.slices()
        ]
    )


def primitive_counts(graphs: GraphColumns) -> Ints:
    """Return the (B, 15) numbers of nodes of each primitive."""
    counts = np.bincount(graphs.graph_of_node * len(PRIMITIVES) + graphs.op, minlength=len(graphs) * len(PRIMITIVES))
    return counts.reshape(-1, len(PRIMITIVES))


def _primitive_shares(file: NetworkFile) -> dict[str, float]:
    counts = np.zeros(len(PRIMITIVES), np.int64)
    for piece in file.file.pieces("graphs/op"):
        counts += np.bincount(piece, minlength=len(PRIMITIVES))
    return {name: 100 * count / counts.sum().item() for name, count in zip(PRIMITIVES, counts.tolist(), strict=True)}


def assignment_costs(counts: Ints, others: Ints) -> Ints:
    """Return distances between graphs as multisets of nodes: costs of the best assignments between their nodes.

    The DeepNets-1M paper (section C.2.4, Figure 6h) compares architectures in this way, with the Hungarian algorithm.
    Two nodes cost 0 if they have the same primitive, else 1; a node without a partner costs 1. The best assignment
    then pairs as many equal nodes as both graphs have, so the algorithm need not run: the cost is the size of the
    larger graph minus the number of these pairs.

    Args:
        counts: (A, 15) nodes of each primitive.
        others: (B, 15) the same for other graphs.

    Returns:
        (A, B) costs.
    """
    size = np.maximum(counts.sum(axis=1)[:, None], others.sum(axis=1))  # (A, B)
    costs: Ints = size - np.minimum(counts[:, None], others).sum(axis=2)
    return costs
