"""Shapes of the nodes of symbolic graphs, for any width, image size and number of classes.

A shape follows from the architecture, the node's cell and its name alone, so files do not store shapes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepnets.architecture import IMAGE_SIZES
from deepnets.blocks import FIXED_NAMES, NAMES, NAMES_PER_OP, SHAPES, SYMBOL_INDEX, SYMBOLS
from deepnets.genotype import OPERATIONS
from deepnets.table import ArchitectureTable

Ints = NDArray[np.int64]


def check_image_size(image_size: int) -> None:
    """Raise ValueError for a size that the design space does not define."""
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size is {image_size}; architectures are defined for {' and '.join(map(str, IMAGE_SIZES))}")


def reductions(n_cells: Ints, cell: Ints) -> Ints:
    """Number of reduction cells among cells 0..cell of a network of `n_cells` cells."""
    first, second = n_cells // 3, 2 * n_cells // 3
    return ((cell >= first) & (first > 0)).astype(np.int64) + ((cell >= second) & (second > 0))


def is_reduction(n_cells: Ints, cell: Ints) -> NDArray[np.bool_]:
    """Whether a cell is a reduction cell (a third and two thirds into the network)."""
    return (cell > 0) & ((cell == n_cells // 3) | (cell == 2 * n_cells // 3))


def _widths(table: ArchitectureTable, net: Ints, cell: Ints) -> tuple[Ints, Ints]:
    """(width of the states, width of the output) of each cell; meaningless for negative cells."""
    n_cells = table.n_cells.astype(np.int64)[net]
    factor = table.C_mult.astype(np.int64)[net]
    width = table.channels.astype(np.int64)[net] * factor ** reductions(n_cells, cell)
    states = np.bitwise_count(table.concat).astype(np.int64)[net, is_reduction(n_cells, cell).astype(np.int64)]
    # Without preprocessing a cell cannot change the width of its input, so the cell before a reduction does.
    widens = ~table.preproc[net] & (states == 1) & is_reduction(n_cells, cell + 1)
    width = np.where(widens, width * factor, width)
    return width, width * states


def symbol_values(table: ArchitectureTable, image_size: int, num_classes: int) -> Ints:
    """(all cells of all networks, symbols): the value of every symbol of `deepnets.blocks` in every cell."""
    check_image_size(image_size)
    n_cells = table.n_cells.astype(np.int64)
    net = np.repeat(np.arange(len(table)), n_cells)
    cell = np.arange(len(net)) - np.repeat(np.cumsum(n_cells) - n_cells, n_cells)
    small = image_size == 32
    channels = table.channels.astype(np.int64)
    vit = table.is_vit
    triple = small & table.preproc & (table.stem_type == 0) & ~vit
    stem = channels * np.where(triple, 3, 1)
    width, _ = _widths(table, net, cell)
    before = [np.where(cell >= k, _widths(table, net, cell - k)[1], stem[net]) for k in (1, 2)]
    preproc = table.preproc[net]

    last = np.cumsum(n_cells) - 1
    out_width = _widths(table, np.arange(len(table)), n_cells - 1)[1]
    side = np.where(table.stem_pool | (table.stem_type == 1), *((16, 32) if small else (28, 56)))
    halvings = reductions(n_cells, n_cells - 1)
    side = -(-side // 2**halvings)
    hidden = np.where(table.fc_layers == 1, num_classes, table.fc_dim)

    values = np.empty((len(net), len(SYMBOLS)), np.int64)
    for constant in ("0", "1", "3", "5", "7"):
        values[:, SYMBOL_INDEX[constant]] = int(constant)
    values[:, SYMBOL_INDEX["in0"]] = before[1]
    values[:, SYMBOL_INDEX["in1"]] = before[0]
    values[:, SYMBOL_INDEX["cell"]] = width
    values[:, SYMBOL_INDEX["src0"]] = np.where(preproc, width, before[1])
    values[:, SYMBOL_INDEX["src1"]] = np.where(preproc, width, before[0])
    values[:, SYMBOL_INDEX["src2"]] = width
    values[:, SYMBOL_INDEX["C"]] = channels[net]
    values[:, SYMBOL_INDEX["stem"]] = stem[net]
    values[:, SYMBOL_INDEX["fc"]] = hidden[net]
    values[:, SYMBOL_INDEX["num_classes"]] = num_classes
    values[:, SYMBOL_INDEX["ks"]] = table.ks[net]
    values[:, SYMBOL_INDEX["patch"]] = 3 if small else 16
    values[:, SYMBOL_INDEX["tokens"]] = 11 if small else 14
    values[:, SYMBOL_INDEX["features"]] = 0  # only the head, in the last cell, reads it
    values[last, SYMBOL_INDEX["features"]] = np.where(table.glob_avg, out_width, out_width * side**2)
    return values


@dataclass(frozen=True, eq=False)
class NodeDimensions:
    """How the shapes of N nodes follow from the symbols of their cells; evaluated for any width and image size.

    Shapes:
        rule: (N,) row of the flattened `deepnets.blocks.SHAPES`.
        source: (N,) input state 0, 1 or 2 (any later one) of the node's edge.
        cell: (N,) row of the node's cell in `symbol_values`.
    """

    rule: Ints
    source: Ints
    cell: Ints

    @classmethod
    def of(cls, table: ArchitectureTable, net: Ints, cell: Ints, name: Ints) -> "NodeDimensions":
        """Find the rule of every node.

        Args:
            table: the architectures.
            net: (N,) row of each node's architecture.
            cell: (N,) cell of each node.
            name: (N,) index of each node's name in `deepnets.blocks.NAMES`.
        """
        n_cells = table.n_cells.astype(np.int64)
        first_cell = np.cumsum(n_cells) - n_cells
        edge, template = _EDGE_OF_NAME[name], _TEMPLATE_OF_NAME[name]
        kind = is_reduction(n_cells[net], cell)
        n_edges = table.ops.shape[2]
        at = (2 * net + kind) * n_edges + np.maximum(edge, 0)
        op = np.where(edge >= 0, table.ops.ravel()[at], len(OPERATIONS))
        return cls(template * _OPS + op, np.minimum(table.inputs.ravel()[at], 2), first_cell[net] + cell)

    def evaluate(self, values: Ints) -> Ints:
        """(N, 4) shapes (out, in, height, width): 1 for missing dimensions, zeros where there is no shape.

        Args:
            values: the symbols' values, from `symbol_values`.
        """
        return np.stack([self._dimension(values.ravel(), d) for d in range(4)], axis=1)

    def numel(self, values: Ints) -> Ints:
        """(N,) number of elements of the shapes, 0 where there is none."""
        flat = values.ravel()
        size = self._dimension(flat, 0) * self._dimension(flat, 1)
        constant = _CONSTANT_KERNEL[self.rule]
        size *= np.abs(constant)
        some = np.flatnonzero(constant < 0)  # kernels that are no constants: those of stems
        few = NodeDimensions(self.rule[some], self.source[some], self.cell[some])
        size[some] *= few._dimension(flat, 2) * few._dimension(flat, 3)
        return size

    def _dimension(self, flat: Ints, d: int) -> Ints:
        symbol = _SYMBOL[d][self.rule] + _READS_SOURCE[d][self.rule] * self.source
        return flat[self.cell * len(SYMBOLS) + symbol] * _FACTOR[d][self.rule] >> _SHIFT[d][self.rule]


_OPS = len(OPERATIONS) + 1
_SYMBOL, _FACTOR, _SHIFT = (np.ascontiguousarray(SHAPES[..., part].reshape(-1, 4).T) for part in range(3))
_READS_SOURCE = (_SYMBOL == SYMBOL_INDEX["src"]).astype(np.int64)


def _constant_kernels() -> Ints:
    """(rules,) height times width of kernels that are constants, else -1."""
    numbers = {SYMBOL_INDEX[symbol]: int(symbol) for symbol in SYMBOLS if symbol.isdigit()}
    area = [numbers.get(h, -1) * numbers.get(w, -1) if h in numbers and w in numbers else -1 for h, w in _SYMBOL[2:].T.tolist()]
    return np.array(area)


_CONSTANT_KERNEL = _constant_kernels()
_EDGE_OF_NAME = np.array([-1] * FIXED_NAMES + [i // NAMES_PER_OP for i in range(len(NAMES) - FIXED_NAMES)])
_TEMPLATE_OF_NAME = np.array(
    [*range(FIXED_NAMES), *(FIXED_NAMES + i % NAMES_PER_OP for i in range(len(NAMES) - FIXED_NAMES))]
)
