"""Shapes of the nodes of symbolic graphs, for any width, image size and number of classes.

A shape follows from the architecture, the node's cell and its name alone, so files do not store shapes. It is looked
up in two steps: the name and the edge's operation give the symbols of the dimensions (`block_tables.SHAPE_SYMBOLS`),
the cell gives the values of the symbols.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable
from deepnets.design_space.genotype import OPERATIONS
from deepnets.design_space.image_sizes import check_image_size
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.symbolic.block_tables import EDGE_OF_NAME, SHAPE_SYMBOLS, SYMBOL_INDEX, SYMBOLS, TEMPLATE_OF_NAME

Ints = NDArray[np.int64]
Integers = NDArray[np.integer]
_Number = TypeVar("_Number", bound=np.generic)

_NEVER = 1 << 20  # the position of a reduction cell that a very short network does not have
_STEM_ROWS = 2  # the inputs of cell 0 stand before it, as if they were outputs of cells -2 and -1


@dataclass(frozen=True)
class _Geometry:
    """Sizes that depend on the image size.

    Args:
        patch: height and width of the patches of a Vision Transformer.
        tokens: patches along the height and the width of an image.
        map_side: height and width of the map that enters cell 0 behind a simple stem.
        reduced_map_side: the same behind a stem with pooling and behind an ImageNet-style stem.
    """

    patch: int
    tokens: int
    map_side: int
    reduced_map_side: int


_GEOMETRY = {32: _Geometry(3, 11, 32, 16), 224: _Geometry(16, 14, 56, 28)}


def reduction_cells(n_cells: Ints) -> tuple[Ints, Ints]:
    """Return the positions of the two reduction cells: a third and two thirds into the network, large if absent."""
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
    def from_table(cls, table: ArchitectureTable, image_size: int, num_classes: int) -> "CellValues":
        """Compute the values for an image size and a number of classes.

        Raises:
            InputError: an image size other than 32 and 224.
        """
        check_image_size(image_size)
        rows = _CellRows.from_table(table)
        width = _state_widths(table, rows)
        stem = rows.spread(_stem_widths(table, image_size))
        output = np.where(rows.cell < 0, stem, width * rows.n_states)
        geometry = _GEOMETRY[image_size]
        columns: dict[str, Integers | int] = {
            "in0": np.concatenate([output[:2], output[:-2]]),
            "in1": np.concatenate([output[:1], output[:-1]]),
            "cell": width,
            "C": rows.spread(table.channels),
            "stem": stem,
            "features": _feature_widths(table, rows, output, geometry),
            "fc": rows.spread(np.where(table.fc_layers == 1, num_classes, table.fc_dim)),
            "num_classes": num_classes,
            "ks": rows.spread(table.ks),
            "patch": geometry.patch,
            "tokens": geometry.tokens,
        }
        values = np.empty((len(width), len(SYMBOLS)), np.int64)
        values[:] = _CONSTANTS
        for symbol, column in columns.items():
            values[:, SYMBOL_INDEX[symbol]] = column
        _fill_source_widths(values, table, rows, width)
        return cls(rows.start, values, rows.reduction)


@dataclass(frozen=True, eq=False)
class _CellRows:
    """The cells of B networks, one row each: two for the stem of a network, then one for each cell.

    Shapes:
        start: (B,) row of cell 0.
        cell: (rows,) number of the cell; -2 and -1 for the stem.
        network: (rows,) network of the cell, or all rows if there is one network.
        reductions: two (B,) positions of the reduction cells.
        reduction: (rows,) whether the cell is a reduction cell.
        n_states: (rows,) states that the cell concatenates.
    """

    start: Ints
    cell: Ints
    network: slice | Ints
    reductions: tuple[Ints, Ints]
    reduction: NDArray[np.bool_]
    n_states: Integers

    @classmethod
    def from_table(cls, table: ArchitectureTable) -> "_CellRows":
        n_cells = table.n_cells.astype(np.int64)
        n_rows = n_cells + _STEM_ROWS
        start = np.cumsum(n_rows) - n_cells
        net = np.repeat(np.arange(len(table)), n_rows)
        cell = np.arange(len(net)) - start[net]
        # Broadcasting one network to its cells is quicker than gathering, which matters for random access.
        network: slice | Ints = net if len(table) > 1 else slice(None)
        first, second = reduction_cells(n_cells)
        reduction = (cell == first[network]) | (cell == second[network])
        n_states = np.bitwise_count(table.concat).ravel()[2 * net + reduction]
        return cls(start, cell, network, (first, second), reduction, n_states)

    def spread(self, column: NDArray[_Number]) -> NDArray[_Number]:
        """Give every cell the value of its network; a single network's value is left to broadcasting."""
        return column[self.network]


def _state_widths(table: ArchitectureTable, rows: _CellRows) -> Ints:
    """Return the (rows,) widths of the cells' states, which are multiplied at every reduction."""
    first, second = (rows.spread(position) for position in rows.reductions)
    factor = rows.spread(table.C_mult.astype(np.int64))
    once = np.where(rows.cell >= first, factor, 1)
    width = rows.spread(table.channels.astype(np.int64)) * np.where(rows.cell >= second, factor, 1) * once
    if table.preproc.all():
        return width
    # Without preprocessing a cell cannot change the width of its input: the cell before a reduction does.
    before = (rows.cell + 1 == first) | (rows.cell + 1 == second)
    grows_early = before & (rows.n_states == 1) & ~table.preproc[rows.network]
    return np.where(grows_early, width * table.C_mult[rows.network], width)


def _stem_widths(table: ArchitectureTable, image_size: int) -> Ints:
    """Return the (B,) widths of the stems: on small images three times the first cell's, unless that is read as is."""
    channels = table.channels.astype(np.int64)
    if image_size != 32:
        return channels
    return np.where((table.stem_type == 0) & table.preproc & ~table.is_vit, 3 * channels, channels)


def _feature_widths(table: ArchitectureTable, rows: _CellRows, output: Ints, geometry: _Geometry) -> Ints:
    """Return the (rows,) inputs that the classifier would have behind each cell.

    The VGG-style head flattens the map, whose sides are halved, rounding up, at every reduction.
    """
    if table.glob_avg.all():
        return output
    reduced = table.stem_pool | (table.stem_type == 1)
    side = np.where(reduced, geometry.reduced_map_side, geometry.map_side)
    halvings = sum((position < _NEVER).astype(np.int64) for position in rows.reductions)
    area: Ints = np.where(table.glob_avg, 1, (-(-side // 2**halvings)) ** 2)
    return output * rows.spread(area)


def _fill_source_widths(values: Ints, table: ArchitectureTable, rows: _CellRows, width: Ints) -> None:
    """Fill in the widths that operations read, their triples, and the halves of all widths.

    With preprocessing an operation reads the cell's own width, else the width of the input that it reads.
    """
    sources = values[:, _SOURCES]
    sources[:] = width[:, None]
    if not table.preproc.all():
        sources[:] = np.where(table.preproc[rows.network][:, None], sources, values[:, _INPUTS])
    values[:, _HALVES] = values[:, _WHOLES] >> 1
    values[:, _TRIPLES] = 3 * sources


@dataclass(frozen=True, eq=False)
class NodeDimensions:
    """Symbols that make the shapes of N nodes, and the cells that give their values.

    Shapes:
        rule: (N,) row of the flattened table of symbols.
        row: (N,) row of the node's cell in `CellValues`.
    """

    rule: Ints
    row: Ints

    @classmethod
    def from_names(
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
        # One entry more than edges: the rule of nodes that belong to no edge, whose edge is -1.
        rule_of_edge = np.full((n_cells, 2, n_edges + 1), _NO_OPERATION)
        rule_of_edge[..., :-1] = np.minimum(table.ops, len(OPERATIONS)) * 3 + np.minimum(table.inputs, 2)
        row = cells.start[net] + cell
        at = (2 * net + cells.reduction[row]) * (n_edges + 1) + EDGE_OF_NAME[name] % (n_edges + 1)
        return cls(_RULE_OF_NAME[name] + rule_of_edge.ravel()[at], row)

    def evaluate(self, cells: CellValues) -> Ints:
        """Return the (N, 4) shapes (out, in, height, width): 1 for missing dimensions, 0 for nodes without a shape."""
        symbol: Ints = _SYMBOLS.take(self.rule, axis=0)
        symbol += (self.row * len(SYMBOLS))[:, None]
        return cells.values.ravel().take(symbol)

    def numel(self, cells: CellValues) -> Ints:
        """Return the (N,) numbers of elements of the shapes, 0 where there is no shape."""
        flat, at = cells.values.ravel(), self.row * len(SYMBOLS)
        size = flat[at + _SYMBOLS_OUT[self.rule]] * flat[at + _SYMBOLS_IN[self.rule]]
        area = _CONSTANT_AREA[self.rule]
        variable = np.flatnonzero(area < 0)  # the kernels of stems depend on the architecture
        shapes = NodeDimensions(self.rule[variable], self.row[variable]).evaluate(cells)
        area[variable] = shapes[:, 2] * shapes[:, 3]
        result: Ints = size * area
        return result


def node_shapes(table: ArchitectureTable, graphs: GraphColumns, image_size: int, num_classes: int) -> Ints:
    """Return the (N, 4) shapes of the nodes of symbolic graphs.

    Args:
        table: B architectures.
        graphs: the graphs of the same architectures.
        image_size: height and width of the input, 32 or 224.
        num_classes: outputs of the classifiers.

    Raises:
        InputError: an image size other than 32 and 224.
    """
    cells = CellValues.from_table(table, image_size, num_classes)
    net = graphs.graph_of_node if len(graphs) > 1 else 0
    return NodeDimensions.from_names(table, cells, net, graphs.cell, graphs.name).evaluate(cells)


_SOURCES = slice(SYMBOL_INDEX["src0"], SYMBOL_INDEX["src0"] + 3)
_TRIPLES = slice(SYMBOL_INDEX["3src0"], SYMBOL_INDEX["3src0"] + 3)
_WHOLES = slice(SYMBOL_INDEX["cell"], SYMBOL_INDEX["cell"] + 5)
_HALVES = slice(SYMBOL_INDEX["cell/2"], SYMBOL_INDEX["cell/2"] + 5)
_INPUTS = slice(SYMBOL_INDEX["in0"], SYMBOL_INDEX["in0"] + 3)
_CONSTANTS = np.array([int(symbol) if symbol.isdigit() else 0 for symbol in SYMBOLS])
_SYMBOLS = np.ascontiguousarray(SHAPE_SYMBOLS.reshape(-1, 4))
_SYMBOLS_OUT, _SYMBOLS_IN = (np.ascontiguousarray(_SYMBOLS[:, d]) for d in (0, 1))
_CONSTANT_AREA = np.array(
    [
        int(SYMBOLS[h]) * int(SYMBOLS[w]) if SYMBOLS[h].isdigit() and SYMBOLS[w].isdigit() else -1
        for h, w in _SYMBOLS[:, 2:].tolist()
    ]
)
_RULE_OF_NAME = TEMPLATE_OF_NAME * SHAPE_SYMBOLS.shape[1] * SHAPE_SYMBOLS.shape[2]
_NO_OPERATION = len(OPERATIONS) * SHAPE_SYMBOLS.shape[2]
assert len(OPERATIONS) < NO_EDGE
