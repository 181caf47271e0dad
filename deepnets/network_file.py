"""Networks of the design space as columns of a file, and back.

Group `architectures` has the columns of `ArchitectureTable`, with the widths and parameter counts for both image
sizes; group `graphs` has the graphs. Shapes are not stored: they
follow from the architecture, so that one file serves both image sizes and any number of classes.
"""

import os
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deepnets.architecture import Architecture
from deepnets.blocks import NAMES
from deepnets.graph import ArchGraph
from deepnets.sampling import Networks
from deepnets.shapes import CellValues, NodeDimensions, check_image_size
from deepnets.storage import VOCABULARY, Column, ColumnFile, Columns, FileError, encode_vocabulary
from deepnets.symbolic import GraphColumns
from deepnets.table import NO_EDGE, ArchitectureTable

Ints = NDArray[np.int64]

_OF_NODES = ("op", "cell", "name")
_GRAPH_COLUMNS = (*_OF_NODES, "edge_src", "edge_dst")
_FLAGS = ("bn", "preproc", "glob_avg", "stem_pool")
_NUMBERS = ("n_cells", "ks", "stem_type", "C_mult", "fc_layers", "fc_dim", "ops", "inputs", "concat")


def network_columns(networks: Networks, steps: int) -> Columns:
    """The columns of a file.

    Args:
        networks: what to store.
        steps: the largest number of steps that a network of the split may have.
    """
    table = networks.table
    padding = ((0, 0), (0, 0), (0, 2 * steps - table.ops.shape[2]))
    ops, inputs = (np.pad(column, padding, constant_values=NO_EDGE) for column in (table.ops, table.inputs))
    table = replace(table, ops=ops, inputs=inputs)
    columns: dict[str, Column] = {VOCABULARY: encode_vocabulary(NAMES)}
    columns |= {f"architectures/{name}": getattr(table, name).astype(np.uint8) for name in _FLAGS}
    columns |= {f"architectures/{name}": getattr(table, name) for name in _NUMBERS}
    columns["architectures/channels_32"] = networks.channels_32.astype(np.uint16)
    columns["architectures/channels_224"] = networks.channels_224.astype(np.uint16)
    columns["architectures/num_params_32"] = networks.num_params_32.astype(np.uint32)
    columns["architectures/num_params_224"] = networks.num_params_224.astype(np.uint32)
    columns |= {f"graphs/{name}": getattr(networks.graphs, name) for name in ("node_ptr", "edge_ptr", *_GRAPH_COLUMNS)}
    return columns


class NetworkFile:
    """A file of generated networks: architectures and graphs by index.

    Args:
        path: the HDF5 file.
        image_size: 32 or 224; decides widths and shapes.
        num_classes: outputs of the classifiers; decides the shape of the last layer.

    Raises:
        FileError: the file is not a complete file of networks.
    """

    def __init__(self, path: str | os.PathLike[str], image_size: int = 32, num_classes: int = 10) -> None:
        check_image_size(image_size)
        self.image_size, self.num_classes = image_size, num_classes
        self.file = ColumnFile(path)
        self.header = self.file.header
        self._columns: dict[str, Column] = {}
        if "architectures/n_cells" not in self.file.names:
            raise FileError(f"{path} holds graphs, but no architectures of the design space")
        self.node_ptr = self.file.column("graphs/node_ptr")
        self.edge_ptr = self.file.column("graphs/edge_ptr")
        # The frozen vocabulary only grows, but a file may have been written with another order.
        position = {name: index for index, name in enumerate(NAMES)}
        unknown = set(self.file.vocabulary) - set(position)
        if unknown:
            raise FileError(f"{path} has parameter names that this toolkit does not know, such as {min(unknown)!r}")
        translation = np.array([position[name] for name in self.file.vocabulary])
        self._translation = None if (translation == np.arange(len(translation))).all() else translation

    def __reduce__(self) -> tuple[type["NetworkFile"], tuple[str, int, int]]:
        return NetworkFile, (str(self.file.path), self.image_size, self.num_classes)

    def __len__(self) -> int:
        return len(self.node_ptr) - 1

    @property
    def num_nodes(self) -> Ints:
        """(B,) nodes of each graph."""
        return np.diff(self.node_ptr)

    def num_params(self) -> Column:
        """(B,) recorded parameter counts at 32 channels with 10 classes, for the image size."""
        return self.file.column(f"architectures/num_params_{self.image_size}")

    def table(self, index: Ints | slice) -> ArchitectureTable:
        """The architectures at `index`, with their width for the image size."""
        columns: dict[str, Column] = {name: self._column(f"architectures/{name}")[index] for name in _NUMBERS}
        columns |= {name: self._column(f"architectures/{name}")[index].view(np.bool_) for name in _FLAGS}
        channels = self._column(f"architectures/channels_{self.image_size}")[index]
        return ArchitectureTable(channels=channels, **columns)

    def graphs(self, index: Ints | slice) -> GraphColumns:
        """The graphs at `index`; a slice, of step 1, is read without copying."""
        if isinstance(index, slice):
            node_ptr, edge_ptr = (ptr[index.start : index.stop + 1] for ptr in (self.node_ptr, self.edge_ptr))
            nodes, edges = (slice(int(ptr[0]), int(ptr[-1])) for ptr in (node_ptr, edge_ptr))
            columns = [self._rows(f"graphs/{name}", nodes if name in _OF_NODES else edges) for name in _GRAPH_COLUMNS]
            return self._translated(GraphColumns(node_ptr - node_ptr[0], edge_ptr - edge_ptr[0], *columns))
        node_ptr, edge_ptr = (
            np.concatenate([[0], np.cumsum(ptr[index + 1] - ptr[index])]) for ptr in (self.node_ptr, self.edge_ptr)
        )
        columns = [
            self._gather(f"graphs/{name}", self.node_ptr if name in _OF_NODES else self.edge_ptr, index)
            for name in _GRAPH_COLUMNS
        ]
        return self._translated(GraphColumns(node_ptr, edge_ptr, *columns))

    def _translated(self, graphs: GraphColumns) -> GraphColumns:
        if self._translation is None:
            return graphs
        return replace(graphs, name=self._translation[graphs.name].astype(np.uint16))

    def shapes(self, table: ArchitectureTable, graphs: GraphColumns) -> Ints:
        """(N, 4) shapes of all nodes of graphs, whose architectures are given."""
        net = np.repeat(np.arange(len(graphs)), np.diff(graphs.node_ptr)) if len(graphs) > 1 else 0
        cells = CellValues.of(table, self.image_size, self.num_classes)
        return NodeDimensions.of(table, cells, net, graphs.cell, graphs.name).evaluate(cells)

    def architecture(self, index: int) -> Architecture:
        """The architecture at `index`, with its width for the image size.

        Raises:
            IndexError: the file has fewer networks.
        """
        at = self.check_index(index)
        return self.table(slice(at, at + 1))[0]

    def graph(self, index: int) -> ArchGraph:
        """The graph at `index`.

        Raises:
            IndexError: the file has fewer networks.
        """
        at = slice(self.check_index(index), self.check_index(index) + 1)
        graphs = self.graphs(at)
        shapes = self.shapes(self.table(at), graphs)
        return ArchGraph.from_columns(graphs.op, graphs.cell, graphs.name, shapes, graphs.edge_src, graphs.edge_dst)

    def check_index(self, index: int) -> int:
        """The index if there is such a network; negative ones count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: {self.file.path} has networks 0 to {len(self) - 1}")
        return int(index % len(self))

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            self._columns[name] = self.file.column(name)
        return self._columns[name]

    def _rows(self, name: str, rows: slice) -> Column:
        return self._column(name)[rows] if self.file.is_mapped(name) else self.file.rows(name, rows.start, rows.stop)

    def _gather(self, name: str, ptr: Ints, index: Ints) -> Column:
        bounds = zip(ptr[index].tolist(), ptr[index + 1].tolist(), strict=True)
        return np.concatenate([self._rows(name, slice(*ends)) for ends in bounds])
