"""Files of networks of the design space: architectures and their graphs.

The group `architectures` has the columns of `ArchitectureTable`, and widths and parameter counts for both image sizes;
the group `graphs` has the graphs. Shapes follow from the architecture and are not stored, so one file serves both image
sizes and any number of classes.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture import FC_LAYERS, STEM_KERNELS, Architecture
from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable
from deepnets.design_space.genotype import OPERATIONS
from deepnets.design_space.image_sizes import IMAGE_SIZES, check_image_size
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.sampling.proposals import GENERATION_CHANNELS
from deepnets.sampling.sampler import Networks
from deepnets.storage.column_reader import VOCABULARY, Column, Columns, encode_vocabulary, reopen
from deepnets.storage.graph_file import GRAPH_COLUMNS, GraphFile
from deepnets.symbolic.block_tables import NAMES
from deepnets.symbolic.builder import UnprunedGraphs, build_graphs
from deepnets.symbolic.shapes import node_shapes
from deepnets.utils.errors import FileError, InputError

Ints = NDArray[np.int64]

_FLAGS = ("bn", "preproc", "glob_avg", "stem_pool")
_TYPES = {"fc_dim": "uint16", "concat": "uint16"} | {f"channels_{size}": "uint16" for size in IMAGE_SIZES}
_TYPES |= {f"num_params_{size}": "uint32" for size in IMAGE_SIZES}
_NUMBERS = ("n_cells", "ks", "stem_type", "C_mult", "fc_layers", "fc_dim", "ops", "inputs", "concat")


def network_columns(networks: Networks, steps: int) -> Columns:
    """Return networks as the columns of a file.

    Args:
        networks: architectures with their graphs.
        steps: the largest number of steps that a network of the split may have; decides the width of columns.
    """
    table = networks.table
    padding = ((0, 0), (0, 0), (0, 2 * steps - table.ops.shape[2]))
    ops, inputs = (np.pad(column, padding, constant_values=NO_EDGE) for column in (table.ops, table.inputs))
    table = replace(table, ops=ops, inputs=inputs)
    columns: dict[str, Column] = {VOCABULARY: encode_vocabulary(NAMES)}
    columns |= {f"architectures/{name}": getattr(table, name).astype(np.uint8) for name in _FLAGS}
    columns |= {f"architectures/{name}": getattr(table, name) for name in _NUMBERS}
    columns |= {f"architectures/channels_{size}": networks.channels(size).astype(np.uint16) for size in IMAGE_SIZES}
    columns |= {f"architectures/num_params_{size}": networks.num_params(size).astype(np.uint32) for size in IMAGE_SIZES}
    columns |= {f"graphs/{name}": getattr(networks.graphs, name) for name in ("node_ptr", "edge_ptr", *GRAPH_COLUMNS)}
    return columns


def open_graphs(path: str | os.PathLike[str], image_size: int = 32, num_classes: int = 10) -> GraphFile:
    """Open a file of networks, or of graphs only.

    Args:
        path: the HDF5 file.
        image_size: as in `NetworkFile`; files of graphs have their shapes recorded.
        num_classes: likewise.

    Raises:
        FileError: the file cannot be read.
    """
    file = GraphFile(path)
    if any(name.startswith("architectures/") for name in file.file.names):
        return NetworkFile(path, image_size, num_classes)
    return file


def find_bad_architecture(table: ArchitectureTable) -> str | None:
    """Return a sentence on the first column with a value outside the design space; None if there is none.

    Each column is checked by itself, so impossible combinations of values are not found.
    """
    is_edge = table.ops != NO_EDGE
    num_edges = is_edge.sum(axis=2)
    accepted = {
        "n_cells": table.n_cells >= 1,
        "channels": (table.channels >= 8) & (table.channels % 8 == 0),
        "ks": np.isin(table.ks, STEM_KERNELS),
        "stem_type": table.stem_type <= 1,
        "C_mult": (table.C_mult >= 1) & (table.C_mult <= 4),
        "fc_layers": np.isin(table.fc_layers, FC_LAYERS),
        "fc_dim": table.fc_dim >= 1,
        "ops": np.where(np.arange(table.ops.shape[2]) < num_edges[..., None], table.ops < len(OPERATIONS), ~is_edge),
        "inputs": np.where(is_edge, table.inputs < np.arange(table.ops.shape[2]) // 2 + 2, table.inputs == NO_EDGE),
        "concat": (table.concat > 0) & (table.concat % 4 == 0) & (table.concat >> 2 < 1 << num_edges // 2),
    }
    accepted |= {name: getattr(table, name).view(np.uint8) <= 1 for name in _FLAGS}
    return next((f"{name} of an architecture is out of range" for name, ok in accepted.items() if not ok.all()), None)


def rebuild_graphs(table: ArchitectureTable) -> UnprunedGraphs:
    """Build the graphs of architectures at the 32 channels that graphs and parameter counts of files are for."""
    return build_graphs(table.with_channels(np.full(len(table), GENERATION_CHANNELS)))


def find_different(a: GraphColumns, b: GraphColumns) -> int | None:
    """Return the index of the first graph that differs, None if all are equal."""
    names = ("node_ptr", "edge_ptr", *GRAPH_COLUMNS)

    def are_equal(a: GraphColumns, b: GraphColumns) -> bool:
        return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)

    if are_equal(a, b):
        return None
    return next(i for i in range(len(a)) if not are_equal(a.take(np.array([i])), b.take(np.array([i]))))


class NetworkFile(GraphFile):
    """A file of networks of the design space: architectures and graphs by index.

    Args:
        path: the HDF5 file.
        image_size: 32 or 224; decides widths and shapes.
        num_classes: outputs of the classifiers; decides the shape of the last layer.

    Raises:
        FileError: the file is not a complete file of networks.
    """

    def __init__(self, path: str | os.PathLike[str], image_size: int = 32, num_classes: int = 10) -> None:
        check_image_size(image_size)
        super().__init__(path)
        self.image_size, self.num_classes = image_size, num_classes
        needed = (*_FLAGS, *_NUMBERS, f"channels_{image_size}", f"num_params_{image_size}")
        missing = {f"architectures/{name}" for name in needed} - set(self.file.names)
        if missing:
            raise FileError(f"{path} lacks the columns {', '.join(sorted(missing))} of a file of architectures")
        if any(self.file.describe(f"architectures/{name}")[0][0] != len(self) for name in needed):
            raise FileError(f"{path} is damaged: its architectures are not as many as its graphs")
        self._check_architecture_types(needed)
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be 1 or more")
        # The frozen vocabulary only grows, but a file may have been written with another order.
        position = {name: index for index, name in enumerate(NAMES)}
        if len(set(self.file.vocabulary)) < len(self.file.vocabulary):
            raise FileError(f"{path} is damaged: its vocabulary has a name twice")
        unknown = set(self.file.vocabulary) - set(position)
        if unknown:
            raise FileError(f"{path} has parameter names that this toolkit does not know, such as {min(unknown)!r}")
        translation = np.array([position[name] for name in self.file.vocabulary])
        self._translation = None if (translation == np.arange(len(translation))).all() else translation

    def _check_architecture_types(self, columns: Sequence[str]) -> None:
        """Raise FileError if a column of architectures has another type or shape."""
        edges = self.file.describe("architectures/ops")[0][2:]
        shapes = {"ops": (2, *edges), "inputs": (2, *edges), "concat": (2,)}
        if len(edges) != 1:
            raise FileError(f"{self.file.path} is damaged: its architectures have no edges")
        for name in columns:
            self.check_column(f"architectures/{name}", (_TYPES.get(name, "uint8"),), shapes.get(name, ()))

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (str(self.file.path.absolute()), self.image_size, self.num_classes)
        return reopen, (type(self), arguments, self.header.content_sha256)

    @property
    def models(self) -> list[str]:
        """Split and index of each network, such as `val/3`."""
        return [f"{self.header.split}/{i}" for i in range(len(self))]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Names that graphs index: the vocabulary of the toolkit, to which that of the file is translated."""
        return NAMES

    def num_params(self) -> Column:
        """Return the (B,) recorded parameter counts with 32 channels and 10 classes, for the image size."""
        return self.file.column(f"architectures/num_params_{self.image_size}")

    def table(self, index: Ints | slice) -> ArchitectureTable:
        """Return the architectures at `index`, with their width for the image size."""
        columns: dict[str, Column] = {name: self._column(f"architectures/{name}")[index] for name in _NUMBERS}
        columns |= {name: self._column(f"architectures/{name}")[index].view(np.bool_) for name in _FLAGS}
        channels = self._column(f"architectures/channels_{self.image_size}")[index]
        return ArchitectureTable(channels=channels, **columns)

    def read(self, index: Ints | slice) -> tuple[GraphColumns, Ints]:
        """Return the graphs at `index`, and the (N, 4) shapes of their nodes."""
        table, graphs = self.table(index), self.graphs(index)
        try:
            return graphs, node_shapes(table, graphs, self.image_size, self.num_classes)
        except (IndexError, ValueError):
            problem = find_bad_architecture(table)
            if problem is None and find_different(graphs, rebuild_graphs(table).prune()) is not None:
                problem = "a graph is not that of its architecture"
            if problem is None:
                raise
            raise FileError(f"{self.file.path} is damaged: {problem}; deepnets verify says where") from None

    def graphs(self, index: Ints | slice) -> GraphColumns:
        """Return the graphs at `index`; a slice, of step 1, is read without copying."""
        graphs = super().graphs(index)
        if self._translation is None:
            return graphs
        return replace(graphs, name=self._translation[graphs.name].astype(np.uint16))

    def architecture(self, index: int) -> Architecture:
        """Return the architecture at `index`, with its width for the image size.

        Raises:
            IndexError: the file has fewer networks.
        """
        at = self.check_index(index)
        table = self.table(slice(at, at + 1))
        if problem := find_bad_architecture(table):
            raise FileError(f"{self.file.path} is damaged: {problem}; deepnets verify says where")
        return table[0]
