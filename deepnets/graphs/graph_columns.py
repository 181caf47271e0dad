"""Many graphs as flat columns, the form that sampling makes, files store and data sets read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise, starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.ragged import concatenate_pointers, take_rows

Ints = NDArray[np.int64]

_POINTERS = ("node_ptr", "edge_ptr")


@dataclass(frozen=True, eq=False)
class GraphColumns:
    """B graphs as flat columns; nodes stand in a topological order, edges are sorted by target, then source.

    Shapes:
        node_ptr, edge_ptr: (B + 1,) graph b has nodes node_ptr[b] to node_ptr[b + 1].
        op, cell, name: (N,) primitive, cell, and index into a vocabulary of names.
        edge_src, edge_dst: (E,) nodes, numbered within each graph.
    """

    node_ptr: Ints
    edge_ptr: Ints
    op: NDArray[np.uint8]
    cell: NDArray[np.uint8]
    name: NDArray[np.uint16]
    edge_src: NDArray[np.uint16]
    edge_dst: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.node_ptr) - 1

    @property
    def num_nodes(self) -> Ints:
        """(B,) nodes of each graph."""
        return np.diff(self.node_ptr)

    @property
    def num_edges(self) -> Ints:
        """(B,) edges of each graph."""
        return np.diff(self.edge_ptr)

    @property
    def graph_of_node(self) -> Ints:
        """(N,) graph that each node belongs to."""
        return np.repeat(np.arange(len(self)), self.num_nodes)

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Yield the slices of the nodes and of the edges of each graph in the columns."""
        nodes, edges = (starmap(slice, pairwise(ptr.tolist())) for ptr in (self.node_ptr, self.edge_ptr))
        return zip(nodes, edges, strict=True)

    def take(self, index: Ints) -> "GraphColumns":
        """Return the graphs at `index`, in that order."""
        node_ptr, node = take_rows(self.node_ptr, index)
        edge_ptr, edge = take_rows(self.edge_ptr, index)
        node_columns = (self.op[node], self.cell[node], self.name[node])
        return GraphColumns(node_ptr, edge_ptr, *node_columns, self.edge_src[edge], self.edge_dst[edge])

    @classmethod
    def concatenate(cls, parts: Sequence["GraphColumns"]) -> "GraphColumns":
        """Return the graphs of all parts, one part after the other."""

        def join(column: str) -> NDArray[Any]:
            values = [getattr(part, column) for part in parts]
            return concatenate_pointers(values) if column in _POINTERS else np.concatenate(values)

        return cls(**{f.name: join(f.name) for f in fields(cls)})

    def arch_graphs(self, shape: NDArray[np.integer], vocabulary: tuple[str, ...]) -> list[ArchGraph]:
        """Return the graphs one by one.

        Args:
            shape: (N, 4) shapes of the nodes of all graphs.
            vocabulary: names that the name column indexes; `{cell}` in a name stands for the node's cell.
        """
        return [
            ArchGraph.from_columns(
                *(self.op[n], self.cell[n], self.name[n], shape[n], self.edge_src[e], self.edge_dst[e]), vocabulary
            )
            for n, e in self.slices()
        ]
