"""ArchGraph: the computational graph of one network."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepnets.graphs.primitives import PRIMITIVES
from deepnets.graphs.shortest_paths import average_path_length, shortest_paths
from deepnets.graphs.trace_report import TraceReport

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, eq=False)
class ArchGraph:
    """A directed acyclic graph of operations; nodes stand in a topological order.

    Shapes:
        op: (N,) uint8 primitive (index into `PRIMITIVES`).
        cell: (N,) uint8 cell that the node belongs to.
        name: (N,) str name of the parameter, or the primitive for nodes without a parameter.
        shape: (N, 4) int32 (out, in, height, width) of the parameter: 1 for missing dimensions, 0 for nodes without
            a shape.
        edge_index: (2, E) int32 sources and targets, sorted by target, then source.
        report: the parts of the model that a traced graph leaves out; None for symbolic graphs.

    >>> from deepnets import symbolic_graph
    >>> from deepnets.design_space.named_architectures import vit
    >>> graph = symbolic_graph(vit())
    >>> len(graph), round(graph.average_degree, 2)
    (129, 2.29)
    """

    op: NDArray[np.uint8]
    cell: NDArray[np.uint8]
    name: NDArray[np.str_]
    shape: NDArray[np.int32]
    edge_index: NDArray[np.int32]
    report: TraceReport | None = None

    @classmethod
    def from_columns(
        cls,
        op: NDArray[np.uint8],
        cell: NDArray[np.uint8],
        name: NDArray[np.integer],
        shape: NDArray[np.integer],
        edge_src: NDArray[np.integer],
        edge_dst: NDArray[np.integer],
        vocabulary: tuple[str, ...],
    ) -> "ArchGraph":
        """Return a graph from columns of numbers.

        `name` indexes the vocabulary, in which `{cell}` stands for the node's cell.
        """
        names = [vocabulary[n].replace("{cell}", str(c)) for n, c in zip(name.tolist(), cell.tolist(), strict=True)]
        edge_index = np.stack([edge_src, edge_dst]).astype(np.int32)
        return cls(op, cell, np.array(names), shape.astype(np.int32), edge_index)

    def __len__(self) -> int:
        return len(self.op)

    @cached_property
    def _paths(self) -> NDArray[np.int16]:
        return shortest_paths(len(self), *self.edge_index)

    def distances(self, cutoff: int | None = None) -> NDArray[np.int32]:
        """Return the lengths of the directed shortest paths.

        Args:
            cutoff: leave out longer paths.

        Returns:
            (N, N) entry [u, v] is the number of edges from u to v, 0 where there is no path.
        """
        limit = len(self) if cutoff is None else cutoff
        paths = self._paths.T
        return np.where(paths <= limit, paths, 0).astype(np.int32)

    @property
    def average_degree(self) -> float:
        """The average degree 2E / N of the undirected graph (DeepNets-1M paper, Table 1)."""
        num_edges: int = self.edge_index.shape[1]
        return 2 * num_edges / len(self)

    @cached_property
    def average_path_length(self) -> float:
        """The average length of shortest paths between pairs of nodes of the undirected graph (Table 1)."""
        return average_path_length(len(self), *self.edge_index)

    def to_networkx(self) -> "networkx.DiGraph":
        """Return a networkx graph with node attributes `op` (primitive), `cell`, `name` and `shape`."""
        import networkx

        graph = networkx.DiGraph()
        for node, (op, cell, name, shape) in enumerate(
            zip(self.op.tolist(), self.cell.tolist(), self.name.tolist(), self.shape.tolist(), strict=True)
        ):
            graph.add_node(node, op=PRIMITIVES[op], cell=cell, name=name, shape=tuple(shape))
        graph.add_edges_from(self.edge_index.T.tolist())
        return graph
