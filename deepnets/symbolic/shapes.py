"""Shapes of the nodes of symbolic graphs, for any width, image size and number of classes.

A shape follows from the architecture, the node's cell and its name alone, so files do not store shapes. It is looked
up in two steps: the name and the edge's operation give the symbols of the dimensions (`block_tables.SHAPES`), the
cell gives the values of the symbols.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable
from deepnets.design_space.genotype import OPERATIONS
from deepnets.design_space.image_sizes import check_image_size
from deepnets.symbolic.block_tables import EDGE_OF_NAME, SHAPES, SYMBOL_INDEX, SYMBOLS, TEMPLATE_OF_NAME

Ints = NDArray[np.int64]
Integers = NDArray[np.integer]

_NEVER = 1 << 20  # the position of a reduction cell that a very short network does not have
_STEM_ROWS = 2  # the inputs of cell 0 stand before it, as if they were outputs of cells -2 and -1


def reduction_cells(n_cells: Ints) -> tuple[Ints, Ints]:
    """Positions of the two reduction cells, a third and two thirds into the network; large where there is none."""
    first, second = n_cells // 3, 2 * n_cells // 3
    return np.where(first > 0, first, _NEVER), np.where(second > 0, second, _NEVER)


@dataclass(frozen=True, eq=False)
class CellValues:
    """The values of all symbols in all cells of B networks.

    Shapes:
        start: (B,) row of cell 0 of each network.
        values: (rows, symbols) a network has two rows for its stem, then one for each cell.
        reduction: (rows,) whether the cell is a reduction cell.
    """

    start: Ints
    values: Ints
    reduction: NDArray[np.bool_]

    @classmethod
    def of(cls, table: ArchitectureTable, image_size: int, num_classes: int) -> "CellValues":
        """Compute the values for an image size and a number of classes.

        Raises:
            ValueError: an image size other than 32 and 224.
        """
        check_image_size(image_size)
        small = image_size == 32
        n_cells = table.n_cells.astype(np.int64)
        rows = n_cells + _STEM_ROWS
        start = np.cumsum(rows) - n_cells
        net = np.repeat(np.arange(len(table)), rows)
        cell = np.arange(len(net)) - start[net]
        # Broadcasting one network to its cells is quicker than gathering, which matters for random access.
        of: slice | Ints = net if len(table) > 1 else slice(None)

        first, second = reduction_cells(n_cells)
        reduction = (cell == first[of]) | (cell == second[of])
        width = _widths(table, cell, of, first, second)
        states = np.bitwise_count(table.concat).ravel()[2 * net + reduction]
        if not table.preproc.all():
            # Without preprocessing a cell cannot change the width of its input: the cell before a reduction does.
            before = (cell + 1 == first[of]) | (cell + 1 == second[of])
            width = np.where(before & (states == 1) & ~table.preproc[of], width * table.C_mult[of], width)
        channels = table.channels.astype(np.int64)
        stem = np.where((table.stem_type == 0) & table.preproc & ~table.is_vit, 3 * channels, channels)
        stem = stem if small else channels
        output = np.where(cell < 0, stem[of], width * states)

        values = np.empty((len(net), len(SYMBOLS)), np.int64)
        values[:] = _CONSTANTS
        columns: dict[str, Integers | int] = {
            "in0": np.concatenate([output[:2], output[:-2]]),
            "in1": np.concatenate([output[:1], output[:-1]]),
            "cell": width,
            "C": channels[of],
            "stem": stem[of],
            "features": output if table.glob_avg.all() else output * _map_area(table, n_cells, small)[of],
            "fc": np.where(table.fc_layers == 1, num_classes, table.fc_dim)[of],
            "num_classes": num_classes,
            "ks": table.ks[of],
            "patch": 3 if small else 16,
            "tokens": 11 if small else 14,
        }
        for symbol, column in columns.items():
            values[:, SYMBOL_INDEX[symbol]] = column
        sources = values[:, _SOURCES]
        sources[:] = width[:, None]
        if not table.preproc.all():
            sources[:] = np.where(table.preproc[of][:, None], sources, values[:, _INPUTS])
        values[:, _HALVES] = values[:, _WHOLES] >> 1
        values[:, _TRIPLES] = 3 * sources
        return cls(start, values, reduction)


def _widths(table: ArchitectureTable, cell: Ints, of: slice | Ints, first: Ints, second: Ints) -> Ints:
    """(rows,) width of the cells' states: multiplied at every reduction."""
    factor = table.C_mult.astype(np.int64)
    once = np.where(cell >= first[of], factor[of], 1)
    return table.channels.astype(np.int64)[of] * np.where(cell >= second[of], factor[of], 1) * once


def _map_area(table: ArchitectureTable, n_cells: Ints, small: bool) -> Ints:
    """(B,) pixels of the last cell's output, which the VGG-style head flattens; 1 where it is averaged."""
    reduced, full = (16, 32) if small else (28, 56)
    side = np.where(table.stem_pool | (table.stem_type == 1), reduced, full)
    halvings = (n_cells // 3 > 0).astype(np.int64) + (2 * n_cells // 3 > 0)
    return np.where(table.glob_avg, 1, (-(-side // 2**halvings)) ** 2)


@dataclass(frozen=True, eq=False)
class NodeDimensions:
    """Which symbols make the shapes of N nodes, and in which cell; evaluated for any width and image size.

    Shapes:
        rule: (N,) row of the flattened table of symbols.
        row: (N,) row of the node's cell in `CellValues`.
    """

    rule: Ints
    row: Ints

    @classmethod
    def of(
        cls, table: ArchitectureTable, cells: CellValues, net: Ints | int, cell: Integers, name: Integers
    ) -> "NodeDimensions":
        """Find the symbols of every node.

        Args:
            table: the architectures.
            cells: values for the same architectures.
            net: (N,) row of each node's architecture; 0 if there is only one.
            cell: (N,) cell of each node.
            name: (N,) index of each node's name in `deepnets.symbolic.block_tables.NAMES`.
        """
        n_cells, _, n_edges = table.ops.shape
        # One entry more than edges: what nodes that belong to no edge, number -1, find.
        of_edge = np.full((n_cells, 2, n_edges + 1), _NO_OPERATION)
        of_edge[..., :-1] = np.minimum(table.ops, len(OPERATIONS)) * 3 + np.minimum(table.inputs, 2)
        row = cells.start[net] + cell
        at = (2 * net + cells.reduction[row]) * (n_edges + 1) + EDGE_OF_NAME[name] % (n_edges + 1)
        return cls(_RULE_OF_NAME[name] + of_edge.ravel()[at], row)

    def evaluate(self, cells: CellValues) -> Ints:
        """(N, 4) shapes (out, in, height, width): 1 for missing dimensions, zeros where there is no shape."""
        symbol = _SYMBOLS.take(self.rule, axis=0)
        symbol += (self.row * len(SYMBOLS))[:, None]
        return cells.values.ravel().take(symbol)

    def numel(self, cells: CellValues) -> Ints:
        """(N,) number of elements of the shapes, 0 where there is none."""
        flat, at = cells.values.ravel(), self.row * len(SYMBOLS)
        size = flat[at + _SYMBOLS_OUT[self.rule]] * flat[at + _SYMBOLS_IN[self.rule]]
        area = _CONSTANT_AREA[self.rule]
        odd = np.flatnonzero(area < 0)  # kernels that are no constants: those of stems
        shapes = NodeDimensions(self.rule[odd], self.row[odd]).evaluate(cells)
        area[odd] = shapes[:, 2] * shapes[:, 3]
        return size * area


_SOURCES = slice(SYMBOL_INDEX["src0"], SYMBOL_INDEX["src0"] + 3)
_TRIPLES = slice(SYMBOL_INDEX["3src0"], SYMBOL_INDEX["3src0"] + 3)
_WHOLES = slice(SYMBOL_INDEX["cell"], SYMBOL_INDEX["cell"] + 5)
_HALVES = slice(SYMBOL_INDEX["cell/2"], SYMBOL_INDEX["cell/2"] + 5)
_INPUTS = slice(SYMBOL_INDEX["in0"], SYMBOL_INDEX["in0"] + 3)
_CONSTANTS = np.array([int(symbol) if symbol.isdigit() else 0 for symbol in SYMBOLS])
_SYMBOLS = np.ascontiguousarray(SHAPES.reshape(-1, 4))
_SYMBOLS_OUT, _SYMBOLS_IN = (np.ascontiguousarray(_SYMBOLS[:, d]) for d in (0, 1))
_CONSTANT_AREA = np.array(
    [
        int(SYMBOLS[h]) * int(SYMBOLS[w]) if SYMBOLS[h].isdigit() and SYMBOLS[w].isdigit() else -1
        for h, w in _SYMBOLS[:, 2:].tolist()
    ]
)
_RULE_OF_NAME = TEMPLATE_OF_NAME * SHAPES.shape[1] * SHAPES.shape[2]
_NO_OPERATION = len(OPERATIONS) * SHAPES.shape[2]
assert len(OPERATIONS) < NO_EDGE
