"""Statistics of a file of networks: Table 1 of the DeepNets-1M paper for any split.

Statistics that take one pass over the columns of the file are exact. Shortest paths, and parameters at the widths at
which networks are used, are those of a seeded random sample of the networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.graphs.shortest_paths import average_path_length
from deepnets.sampling.splits import SPLITS
from deepnets.sampling.training_widths import with_training_widths
from deepnets.storage.graph_file import GraphFile
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters
from deepnets.utils.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SEED = 0
EVALUATION_SPLITS = ("test", "wide", "deep", "dense", "bnfree")
_IMAGENET_CLASSES = 1000
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
        cells, channels, nodes, degree: over all networks; traced ones have neither cells nor one width.
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
    cells: SummaryStatistics | None
    channels: SummaryStatistics | None
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


@dataclass(frozen=True, eq=False)
class SplitColumns:
    """Inputs of the statistics of a file.

    Args:
        cells, channels: (B,) of all networks; None for traced networks, which are not made of cells.
        nodes, degree: (B,) of all networks.
        has_bn: (B,) whether they have batch normalization.
        params, path_length: (S,) of the sample.
        primitives: (15,) nodes of each primitive.
    """

    cells: NDArray[Any] | None
    channels: NDArray[Any] | None
    nodes: Ints
    degree: Floats
    has_bn: NDArray[np.bool_]
    params: Ints
    path_length: Floats
    primitives: Ints

    @classmethod
    def of_file(cls, file: GraphFile, sample: int) -> "SplitColumns":
        """Read a file; widths and parameters are those for its image size and number of classes."""
        index = sample_indices(file, sample)
        table = architectures_in_use(file) if isinstance(file, NetworkFile) else None
        return cls(
            cells=None if table is None else table.n_cells,
            channels=None if table is None else table.channels,
            nodes=file.num_nodes,
            degree=average_degrees(file),
            has_bn=_traced_bn(file) if table is None else table.bn,
            params=_traced_params(file, index) if table is None else _params(file, table.take(index)),
            path_length=average_path_lengths(file.graphs(index)),
            primitives=_primitive_totals(file),
        )

    @classmethod
    def pooled(cls, parts: Sequence["SplitColumns"]) -> "SplitColumns":
        """Join the columns of files of networks that are made of cells."""
        names = ("cells", "channels", "nodes", "degree", "has_bn", "params", "path_length")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**joined, primitives=np.sum([part.primitives for part in parts], axis=0))

    def summarize(self, split: str, image_size: int, num_classes: int) -> SplitStatistics:
        """Return the statistics, under the name of a split."""
        shares = 100 * self.primitives / self.primitives.sum()
        return SplitStatistics(
            split=split,
            num_graphs=len(self.nodes),
            image_size=image_size,
            num_classes=num_classes,
            cells=None if self.cells is None else SummaryStatistics.from_values(self.cells),
            channels=None if self.channels is None else SummaryStatistics.from_values(self.channels),
            nodes=SummaryStatistics.from_values(self.nodes),
            without_bn=100 * (1 - float(self.has_bn.mean())),
            params=SummaryStatistics.from_values(self.params / 1e6),
            degree=SummaryStatistics.from_values(self.degree),
            path_length=SummaryStatistics.from_values(self.path_length),
            primitives=dict(zip(PRIMITIVES, shares.tolist(), strict=True)),
            sample=len(self.params),
        )


def split_statistics(file: GraphFile, sample: int = 2000) -> SplitStatistics:
    """Compute the statistics of Table 1; every call on a file returns the same.

    Args:
        file: networks, of any split.
        sample: networks whose paths and parameters are computed.

    Raises:
        InputError: a sample of fewer than 1 network.
    """
    return SplitColumns.of_file(file, sample).summarize(file.header.split, *_task_of(file))


def statistics_of_files(files: Mapping[str, GraphFile], sample: int = 2000) -> list[tuple[str, SplitStatistics]]:
    """Return label and statistics of each file, then those of the evaluation splits together, if there are several.

    The latter are the row DeepNets-1M of Table 3 of the GHN-3 paper.

    Args:
        files: by split.
        sample: as for `split_statistics`.
    """
    columns = {split: SplitColumns.of_file(file, sample) for split, file in files.items()}
    rows = [(split, columns[split].summarize(split, *_task_of(file))) for split, file in files.items()]
    evaluation = [split for split in EVALUATION_SPLITS if split in files]
    if len(evaluation) > 1:
        pooled = SplitColumns.pooled([columns[split] for split in evaluation])
        rows.append(("evaluation", pooled.summarize("evaluation", *_task_of(files[evaluation[0]]))))
    return rows


def _task_of(file: GraphFile) -> tuple[int, int]:
    """Return image size and number of classes; those of traced graphs follow from the classifier."""
    if isinstance(file, NetworkFile):
        return file.image_size, file.num_classes
    _, shapes = file.read(slice(0, 1))
    classes = int(shapes[:, 0][shapes[:, 0] > 0][-1])
    return (224 if classes == _IMAGENET_CLASSES else 32), classes


def _params(file: GraphFile, table: ArchitectureTable) -> Ints:
    assert isinstance(file, NetworkFile)
    return count_parameters(table, file.image_size, file.num_classes)


def _traced_params(file: GraphFile, index: Ints) -> Ints:
    """Return the numbers of parameters of traced networks, which are built without storage."""
    from deepnets.datasets.runnable import build_network
    from deepnets.networks.skip_init import build_on_meta

    image_size, _ = _task_of(file)
    models = (build_on_meta(partial(build_network, file, i, image_size)) for i in index.tolist())
    return np.array([sum(p.numel() for p in model.parameters()) for model in models])


def _traced_bn(file: GraphFile) -> NDArray[np.bool_]:
    graphs = file.graphs(slice(0, len(file)))
    has_bn: NDArray[np.bool_] = primitive_counts(graphs)[:, PRIMITIVES.index("bn")] > 0
    return has_bn


def sample_indices(file: GraphFile, sample: int) -> Ints:
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


def average_degrees(file: GraphFile) -> Floats:
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


def _primitive_totals(file: GraphFile) -> Ints:
    counts = np.zeros(len(PRIMITIVES), np.int64)
    for piece in file.file.pieces("graphs/op"):
        counts += np.bincount(piece, minlength=len(PRIMITIVES))
    return counts


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
