"""Networks of the design space as columns of a file, and back.

Group `architectures` has a column for each field of `Architecture` (the genotype as padded edges, `*_concat` as bits
of the states), the widths and the parameter counts; group `graphs` has the graphs. Shapes are not stored: they
follow from the architecture, so that one file serves both image sizes and any number of classes.
"""

import os

import numpy as np
from numpy.typing import NDArray

from deepnets.architecture import Architecture
from deepnets.blocks import NAMES
from deepnets.graph import ArchGraph
from deepnets.sampling import Networks
from deepnets.shapes import NodeDimensions, check_image_size, symbol_values
from deepnets.storage import VOCABULARY, Column, ColumnFile, Columns, FileError, encode_vocabulary
from deepnets.symbolic import GraphColumns
from deepnets.table import NO_EDGE, ArchitectureTable

Ints = NDArray[np.int64]

_FIELDS = ("n_cells", "ks", "preproc", "glob_avg", "stem_type", "stem_pool", "C_mult", "fc_layers", "fc_dim")
_CELLS = ("normal", "reduce")


def network_columns(networks: Networks, steps: int) -> Columns:
    """The columns of a file.

    Args:
        networks: what to store.
        steps: the largest number of steps that a network of the split may have.
    """
    table = networks.table
    padding = ((0, 0), (0, 0), (0, 2 * steps - table.ops.shape[2]))
    ops, inputs = (np.pad(column, padding, constant_values=NO_EDGE) for column in (table.ops, table.inputs))
    columns: dict[str, Column] = {VOCABULARY: encode_vocabulary(NAMES)}
    for name in _FIELDS:
        column = getattr(table, name)
        columns[f"architectures/{name}"] = column.astype(np.uint8) if column.dtype == np.bool_ else column
    columns["architectures/norm"] = table.bn.astype(np.uint8)
    for cell, name in enumerate(_CELLS):
        columns[f"architectures/{name}_ops"] = ops[:, cell]
        columns[f"architectures/{name}_inputs"] = inputs[:, cell]
        columns[f"architectures/{name}_concat"] = table.concat[:, cell]
    columns["architectures/channels_32"] = networks.channels_32.astype(np.uint16)
    columns["architectures/channels_224"] = networks.channels_224.astype(np.uint16)
    columns["architectures/num_params_32"] = networks.num_params_32.astype(np.uint32)
    columns["architectures/num_params_224"] = networks.num_params_224.astype(np.uint32)
    for name in ("node_ptr", "edge_ptr", "op", "cell", "name", "edge_src", "edge_dst"):
        columns[f"graphs/{name}"] = getattr(networks.graphs, name)
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
        unknown = set(self.header.vocabulary) - set(position)
        if unknown:
            raise FileError(f"{path} has parameter names that this toolkit does not know, such as {min(unknown)!r}")
        translation = np.array([position[name] for name in self.header.vocabulary])
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

    def table(self, index: Ints) -> ArchitectureTable:
        """The architectures at `index`."""

        def column(name: str) -> Column:
            return self._column(f"architectures/{name}")[index]

        flags = {name: column(name).astype(np.bool_) for name in ("preproc", "glob_avg", "stem_pool")}
        scalars = {name: column(name) for name in _FIELDS if name not in flags}
        edges = {
            what: np.stack([column(f"{cell}_{what}") for cell in _CELLS], axis=1) for what in ("ops", "inputs", "concat")
        }
        channels = column(f"channels_{self.image_size}")
        return ArchitectureTable(channels=channels, bn=column("norm").astype(np.bool_), **flags, **scalars, **edges)

    def graphs(self, index: Ints) -> GraphColumns:
        """The graphs at `index`."""
        node_ptr, edge_ptr = (
            np.concatenate([[0], np.cumsum(ptr[index + 1] - ptr[index])]) for ptr in (self.node_ptr, self.edge_ptr)
        )
        op, cell, name = (self._gather(f"graphs/{c}", self.node_ptr, index) for c in ("op", "cell", "name"))
        source, target = (self._gather(f"graphs/{c}", self.edge_ptr, index) for c in ("edge_src", "edge_dst"))
        name = name if self._translation is None else self._translation[name].astype(np.uint16)
        return GraphColumns(node_ptr, edge_ptr, op, cell, name, source, target)

    def shapes(self, table: ArchitectureTable, graphs: GraphColumns) -> Ints:
        """(N, 4) shapes of all nodes of graphs, whose architectures are given."""
        net = np.repeat(np.arange(len(graphs)), np.diff(graphs.node_ptr))
        dimensions = NodeDimensions.of(table, net, graphs.cell.astype(np.int64), graphs.name.astype(np.int64))
        return dimensions.evaluate(symbol_values(table, self.image_size, self.num_classes))

    def architecture(self, index: int) -> Architecture:
        """The architecture at `index`, with its width for the image size.

        Raises:
            IndexError: the file has fewer networks.
        """
        return self.table(np.array([self.check_index(index)]))[0]

    def graph(self, index: int) -> ArchGraph:
        """The graph at `index`.

        Raises:
            IndexError: the file has fewer networks.
        """
        at = np.array([self.check_index(index)])
        graphs = self.graphs(at)
        shapes = self.shapes(self.table(at), graphs)
        return ArchGraph.from_columns(graphs.op, graphs.cell, graphs.name, shapes, graphs.edge_src, graphs.edge_dst)

    def check_index(self, index: int) -> int:
        """The index if there is such a network; negative ones count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: {self.file.path} has networks 0 to {len(self) - 1}")
        return index % len(self)

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            self._columns[name] = self.file.column(name)
        return self._columns[name]

    def _gather(self, name: str, ptr: Ints, index: Ints) -> Column:
        bounds = zip(ptr[index].tolist(), ptr[index + 1].tolist(), strict=True)
        if self.file.is_mapped(name):
            column = self._column(name)
            return np.concatenate([column[start:stop] for start, stop in bounds])
        return np.concatenate([self.file.rows(name, start, stop) for start, stop in bounds])
