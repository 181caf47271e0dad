"""Files of graphs of any networks.

The group `graphs` has ragged columns: of nodes `op`, `cell`, `name` and, unless shapes follow from an architecture,
`shape`, with pointers `node_ptr`; of edges `edge_src` and `edge_dst`, numbered within each graph, with pointers
`edge_ptr`. Names index the vocabulary, in which `{cell}` stands for the node's cell. `models` has the name of the model
of each graph, one per line.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deepnets
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.graphs.ragged import pointers
from deepnets.storage.column_reader import VOCABULARY, Column, ColumnFile, decode_vocabulary, encode_vocabulary, reopen
from deepnets.storage.column_writer import write_columns
from deepnets.storage.joined_parts import MODELS
from deepnets.utils.errors import FileError

Ints = NDArray[np.int64]

_NODE_COLUMNS = ("op", "cell", "name")
GRAPH_COLUMNS = (*_NODE_COLUMNS, "edge_src", "edge_dst")

_SHAPE = "graphs/shape"
_POINTER_TYPES = ("int64",)
_TYPES = {"op": ("uint8",), "cell": ("uint8",)}
_INDEX_TYPES = ("uint16", "uint32")


def encode_graphs(graphs: Sequence[ArchGraph]) -> dict[str, Column]:
    """Return the columns of graphs of any networks; their vocabulary has the names as they are."""
    vocabulary = list(dict.fromkeys(name for graph in graphs for name in graph.name.tolist()))
    position = {name: index for index, name in enumerate(vocabulary)}
    lengths = np.array([len(graph) for graph in graphs])
    edges = [graph.edge_index for graph in graphs]
    nodes = np.uint16 if lengths.max() < 1 << 16 else np.uint32
    names = np.uint16 if len(vocabulary) < 1 << 16 else np.uint32
    return {
        VOCABULARY: encode_vocabulary(vocabulary),
        "graphs/node_ptr": pointers(lengths),
        "graphs/edge_ptr": pointers([e.shape[1] for e in edges]),
        "graphs/op": np.concatenate([graph.op for graph in graphs]),
        "graphs/cell": np.concatenate([graph.cell for graph in graphs]),
        "graphs/name": np.array([position[name] for graph in graphs for name in graph.name.tolist()], names),
        "graphs/edge_src": np.concatenate([e[0] for e in edges]).astype(nodes),
        "graphs/edge_dst": np.concatenate([e[1] for e in edges]).astype(nodes),
        _SHAPE: np.concatenate([graph.shape for graph in graphs]),
    }


def encode_columns(graphs: GraphColumns, shape: NDArray[np.integer], vocabulary: Sequence[str]) -> dict[str, Column]:
    """Return the columns of graphs, with the shapes (N, 4) of their nodes and the vocabulary of their names."""
    columns = {f"graphs/{name}": getattr(graphs, name) for name in ("node_ptr", "edge_ptr", *GRAPH_COLUMNS)}
    return {VOCABULARY: encode_vocabulary(vocabulary), **columns, _SHAPE: shape}


def write_graphs(path: Path, split: str, graphs: Mapping[str, ArchGraph], overwrite: bool = False) -> None:
    """Write graphs to a file.

    Args:
        path: the file.
        split: name of the split, which the file records.
        graphs: graphs by the name of their model.
        overwrite: replace an existing file.

    Raises:
        FileExistsError: the path exists and `overwrite` is False.
        FileError: the disk is full or the folder is not writable.
    """
    columns = {MODELS: encode_vocabulary(list(graphs)), **encode_graphs(list(graphs.values()))}
    write_columns(path.expanduser(), split, 0, deepnets.__version__, columns, overwrite)


def find_impossible(graphs: GraphColumns, num_names: int) -> str | None:
    """Return what is out of range in graphs: primitives, names, or edges, which lead to later nodes of their graph."""
    if not len(graphs.op) or not (graphs.num_nodes > 0).all():
        return "a graph has no nodes"
    if graphs.op.max() >= len(PRIMITIVES):
        return f"there is no primitive {graphs.op.max()}"
    if graphs.name.max() >= num_names:
        return f"there is no name {graphs.name.max()}"
    num_nodes = graphs.num_nodes if len(graphs) == 1 else np.repeat(graphs.num_nodes, graphs.num_edges)
    if not (graphs.edge_dst < num_nodes).all():
        return "an edge leads to a node that is not there"
    return None if (graphs.edge_src < graphs.edge_dst).all() else "an edge leads to an earlier node"


class GraphFile:
    """A file of graphs; columns are memory-mapped.

    Args:
        path: the HDF5 file.

    Raises:
        FileError: it is not a complete file of graphs.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.file = ColumnFile(path)
        self.header = self.file.header
        self._columns: dict[str, Column] = {}
        missing = {f"graphs/{name}" for name in ("node_ptr", "edge_ptr", *GRAPH_COLUMNS)} - set(self.file.names)
        if missing:
            raise FileError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        self._check_types()
        self.node_ptr = self._column("graphs/node_ptr")
        self.edge_ptr = self._column("graphs/edge_ptr")
        self._check_pointers()

    def check_column(self, name: str, types: Sequence[str], row_shape: tuple[int, ...] = ()) -> None:
        """Raise FileError if a column has another type, or rows of another shape."""
        shape, dtype = self.file.describe(name)
        if dtype not in types or shape[1:] != row_shape:
            raise FileError(
                f"{self.file.path} is damaged: the column {name} has {dtype} values in rows of shape {shape[1:]} "
                f"instead of {' or '.join(types)} in {row_shape}"
            )

    def _check_types(self) -> None:
        for name in ("node_ptr", "edge_ptr"):
            self.check_column(f"graphs/{name}", _POINTER_TYPES)
        for name in GRAPH_COLUMNS:
            self.check_column(f"graphs/{name}", _TYPES.get(name, _INDEX_TYPES))
        if _SHAPE in self.file.names:
            self.check_column(_SHAPE, ("int32", "int64"), (4,))
        if MODELS in self.file.names:
            self.check_column(MODELS, ("uint8",))

    def _check_pointers(self) -> None:
        """Raise FileError if columns do not fit together, although they match their checksums."""
        if not self.header.num_networks:
            raise FileError(f"{self.file.path} has no networks")
        for ptr, names in ((self.node_ptr, _NODE_COLUMNS), (self.edge_ptr, GRAPH_COLUMNS[len(_NODE_COLUMNS) :])):
            lengths = {self.file.describe(f"graphs/{name}")[0][0] for name in names}
            in_order = len(ptr) == self.header.num_networks + 1 and ptr[0] == 0 and (ptr[1:] >= ptr[:-1]).all()
            if not in_order or lengths != {int(ptr[-1])}:
                raise FileError(f"{self.file.path} is damaged: its graphs do not fit their bounds")

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (type(self), (str(self.file.path.absolute()),), self.header.content_sha256)

    def __len__(self) -> int:
        return len(self.node_ptr) - 1

    @property
    def num_nodes(self) -> Ints:
        """(B,) nodes of each graph."""
        return np.diff(self.node_ptr)

    @property
    def models(self) -> list[str]:
        """Name of each graph's model."""
        try:
            models = list(decode_vocabulary(self.file.column(MODELS)))
        except (KeyError, UnicodeDecodeError):
            models = []
        if len(models) != len(self):
            raise FileError(f"{self.file.path} is damaged: it does not have a name for each of its graphs")
        return models

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Names that the name column indexes."""
        return self.file.vocabulary

    def read(self, index: Ints | slice) -> tuple[GraphColumns, Ints]:
        """Return the graphs at `index`, and the (N, 4) shapes of their nodes."""
        if _SHAPE not in self.file.names:
            raise FileError(f"{self.file.path} lacks the column {_SHAPE}")
        rows = [self._rows(_SHAPE, slice(*ends)) for ends in self._bounds(self.node_ptr, index)]
        return self.graphs(index), np.concatenate(rows).astype(np.int64)

    def graphs(self, index: Ints | slice) -> GraphColumns:
        """Return the graphs at `index`; a slice, of step 1, is read without copying."""
        if isinstance(index, slice):
            node_ptr, edge_ptr = (ptr[index.start : index.stop + 1] for ptr in (self.node_ptr, self.edge_ptr))
            nodes, edges = (slice(int(ptr[0]), int(ptr[-1])) for ptr in (node_ptr, edge_ptr))
            columns = [
                self._rows(f"graphs/{name}", nodes if name in _NODE_COLUMNS else edges) for name in GRAPH_COLUMNS
            ]
            return self._checked(GraphColumns(node_ptr - node_ptr[0], edge_ptr - edge_ptr[0], *columns))
        node_ptr, edge_ptr = (pointers(ptr[index + 1] - ptr[index]) for ptr in (self.node_ptr, self.edge_ptr))
        columns = [
            self._gather(f"graphs/{name}", self.node_ptr if name in _NODE_COLUMNS else self.edge_ptr, index)
            for name in GRAPH_COLUMNS
        ]
        return self._checked(GraphColumns(node_ptr, edge_ptr, *columns))

    def _checked(self, graphs: GraphColumns) -> GraphColumns:
        """Return graphs that were read.

        Raises:
            FileError: a value is out of range.
        """
        if problem := find_impossible(graphs, len(self.file.vocabulary)):
            raise FileError(f"{self.file.path} is damaged: {problem}; deepnets verify says where")
        return graphs

    def graph(self, index: int) -> ArchGraph:
        """Return the graph at `index`.

        Raises:
            IndexError: the file has fewer graphs.
        """
        at = self.check_index(index)
        graphs, shapes = self.read(slice(at, at + 1))
        return graphs.arch_graphs(shapes, self.vocabulary)[0]

    def check_index(self, index: int) -> int:
        """Return an index as a position from the start; negative ones count from the end.

        Raises:
            IndexError: the file has fewer graphs.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: {self.file.path} has networks 0 to {len(self) - 1}")
        return int(index % len(self))

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            self._columns[name] = self.file.column(name)
        return self._columns[name]

    def _rows(self, name: str, rows: slice) -> Column:
        if self.file.is_mapped(name):
            return self._column(name)[rows]
        try:
            return self.file.rows(name, rows.start, rows.stop)
        except OSError:  # a damaged chunk
            raise FileError(f"{self.file.path} is damaged: {name} cannot be read; deepnets verify says where") from None

    def _gather(self, name: str, ptr: Ints, index: Ints) -> Column:
        return np.concatenate([self._rows(name, slice(*ends)) for ends in self._bounds(ptr, index)])

    @staticmethod
    def _bounds(ptr: Ints, index: Ints | slice) -> list[tuple[int, int]]:
        """Return where the rows of each graph begin and end."""
        if isinstance(index, slice):
            return [(int(ptr[index.start]), int(ptr[index.stop]))]
        return list(zip(ptr[index].tolist(), ptr[index + 1].tolist(), strict=True))
