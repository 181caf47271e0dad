"""Architecture -> graph without building a network, for many architectures at once.

The cells are walked in order, as the network's forward pass would, but every step is one array operation over all
architectures. Each step lays out a block (`block_tables`), remembers what it reads and returns the node that it
ends in. Rules (DeepNets-1M paper, section A.1, and the reference graphs):

* `none` drops what it reads; a state that reads nothing is absent, and so is a concatenation of absent states;
* a sum with fewer than two distinct producers is no node, counted while all sums and concatenations are nodes;
  afterwards the same holds for concatenations;
* only nodes that reach the output are nodes, but parameters are counted in all modules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture import Architecture
from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable, state_numbers
from deepnets.design_space.genotype import OPERATION_INDEX
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.symbolic import block_tables as blocks
from deepnets.symbolic.shapes import CellValues, NodeDimensions, reduction_cells

Ints = NDArray[np.int64]

_TENSORS = np.array([{"bn": 2, "ln": 2, "max_pool": 0, "avg_pool": 0}.get(primitive, 1) for primitive in PRIMITIVES])
"""Trainable tensors of the node's shape, for each primitive."""


@dataclass(frozen=True, eq=False)
class GraphColumns:
    """The graphs of B architectures, flat: nodes in topological order, edges sorted by target, then source.

    Shapes:
        node_ptr, edge_ptr: (B + 1,) graph b has nodes node_ptr[b] to node_ptr[b + 1].
        op, cell, name: (N,) primitive, cell and index into `deepnets.symbolic.block_tables.NAMES`.
        edge_src, edge_dst: (E,) nodes numbered within the graph.
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

    def take(self, index: Ints) -> "GraphColumns":
        """The graphs at `index`, in that order."""
        node_ptr, node = _ranges(self.node_ptr, index)
        edge_ptr, edge = _ranges(self.edge_ptr, index)
        nodes = (self.op[node], self.cell[node], self.name[node])
        return GraphColumns(node_ptr, edge_ptr, *nodes, self.edge_src[edge], self.edge_dst[edge])

    @classmethod
    def concatenate(cls, parts: Sequence["GraphColumns"]) -> "GraphColumns":
        """The graphs of all parts, one after the other."""
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(cls)}
        for ptr in ("node_ptr", "edge_ptr"):
            ends = np.cumsum([0] + [p[-1] for p in columns[ptr]])
            columns[ptr] = [np.zeros(1, np.int64)] + [p[1:] + end for p, end in zip(columns[ptr], ends, strict=False)]
        return cls(**{name: np.concatenate(values) for name, values in columns.items()})


def _ranges(ptr: Ints, index: Ints) -> tuple[Ints, Ints]:
    """Bounds and positions of the ragged rows at `index`."""
    length = (ptr[1:] - ptr[:-1])[index]
    bounds = np.concatenate([[0], np.cumsum(length)])
    return bounds, np.arange(bounds[-1]) + np.repeat(ptr[:-1][index] - bounds[:-1], length)


@dataclass
class _State:
    """Where the tensor of a state comes from, per architecture; -1 where there is none.

    `drawn` identifies the producer while all sums and concatenations are nodes, `summed` once superfluous sums are
    gone, and `final` is the node in the graph.
    """

    drawn: Ints
    summed: Ints
    final: Ints

    @classmethod
    def nodes(cls, final: Ints) -> "_State":
        return cls(final, final, final)

    def where(self, condition: NDArray[np.bool_], other: "_State") -> "_State":
        """This state where the condition holds, else the other."""
        return _State(
            np.where(condition, self.drawn, other.drawn),
            np.where(condition, self.summed, other.summed),
            np.where(condition, self.final, other.final),
        )


@dataclass(frozen=True)
class _Laid:
    """One block laid out in some of the architectures."""

    net: Ints
    block: Ints
    cell: int
    edge: int
    first: Ints  # its first node
    reads: tuple[Ints, ...]  # nodes that its entry nodes (or the aggregate) read, -1 for none


class _Canvas:
    """Lays out blocks and numbers their nodes, separately in each architecture."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.n_nodes = np.zeros(size, np.int64)
        self.laid: list[_Laid] = []
        self._phantoms = 0

    def phantom(self) -> int:
        """A number for a sum or concatenation that counts as a producer but becomes no node."""
        self._phantoms += 1
        return 1_000_000 + self._phantoms

    def lay(self, mask: NDArray[np.bool_], block: Ints, cell: int, edge: int, *reads: Ints) -> Ints:
        """Lay out block[b] in every architecture b of the mask; the node that it ends in, -1 elsewhere.

        Blocks without nodes are laid out by nobody: mask them.
        """
        end = np.full(self.size, -1)
        net = np.flatnonzero(mask)
        if len(net):
            chosen = block[net]
            first = self.n_nodes[net]
            self.n_nodes[net] += blocks.NODES.length[chosen]
            end[net] = self.n_nodes[net] - 1
            self.laid.append(_Laid(net, chosen, cell, edge, first, tuple(node[net] for node in reads)))
        return end

    def apply(self, mask: NDArray[np.bool_], block: Ints, cell: int, edge: int, source: _State) -> _State:
        """A layer on a state: absent where the state is absent, although its parameters exist."""
        end = self.lay(mask, block, cell, edge, source.final)
        return _State.nodes(np.where(source.final >= 0, end, -1))

    def sum(self, a: _State, b: _State, cell: int) -> _State:
        """The sum of two states, of which any may be absent."""
        either = a.where(a.drawn >= 0, b)
        kept = (a.drawn >= 0) & (b.drawn >= 0) & (a.drawn != b.drawn)
        node = self.lay(kept, np.full(self.size, blocks.SUM), cell, 0, a.final, b.final)
        # A state with one input is that input; one that adds an input to itself is a sum as long as sums are counted.
        counted = np.where((a.drawn >= 0) & (b.drawn >= 0), self.phantom(), either.drawn)
        return _State.nodes(node).where(kept, _State(counted, either.summed, either.final))

    def concat(self, states: list[_State], cell: int) -> _State:
        """The concatenation of states, of which any may be absent."""
        single = states[0]
        for state in states[1:]:
            single = single.where(single.summed >= 0, state)
        several = np.zeros(self.size, np.bool_)
        for state in states:
            several |= (state.summed >= 0) & (state.summed != single.summed)
        reads = tuple(state.final for state in states)
        node = self.lay(several, np.full(self.size, blocks.CONCAT), cell, 0, *reads)
        counted = np.where(single.summed >= 0, self.phantom(), -1)
        return _State.nodes(node).where(several, _State(counted, counted, single.final))


def _stem(table: ArchitectureTable, canvas: _Canvas) -> tuple[_State, _State]:
    """The two inputs of cell 0."""
    every = np.ones(len(table), np.bool_)
    bn = table.bn.astype(np.int64)
    vit = table.is_vit
    imagenet = ~vit & (table.stem_type == 1)
    image = canvas.lay(every, np.full(len(table), blocks.INPUT), 0, 0)
    simple = np.where(vit, blocks.VIT_STEM, blocks.SIMPLE_STEM[table.stem_pool.astype(np.int64), bn])
    one = canvas.lay(~imagenet, simple, 0, 0, image)
    stem0 = canvas.lay(imagenet, blocks.IMAGENET_STEM[0, bn], 0, 0, image)
    stem1 = canvas.lay(imagenet, blocks.IMAGENET_STEM[1, bn], 0, 0, stem0)
    return _State.nodes(np.where(imagenet, stem0, one)), _State.nodes(np.where(imagenet, stem1, one))


def _cell(table: ArchitectureTable, canvas: _Canvas, cell: int, inputs: tuple[_State, _State]) -> _State:
    """The output of one cell, in the architectures that have it (its number is the same in all)."""
    size = len(table)
    n_cells = table.n_cells.astype(np.int64)
    exists = cell < n_cells
    bn = table.bn.astype(np.int64)
    reductions = np.stack(reduction_cells(n_cells))
    reduction = (reductions == cell).any(axis=0) & exists
    after_reduction = (reductions == cell - 1).any(axis=0) if cell else table.stem_type == 1
    halved = ((after_reduction & ~table.is_vit).astype(np.int64), np.zeros(size, np.int64))
    preproc = exists & table.preproc
    states = [
        canvas.apply(preproc, blocks.PREPROCESS[i, halved[i], bn], cell, 0, inputs[i]).where(preproc, inputs[i])
        for i in (0, 1)
    ]

    kind = reduction.astype(np.int64)
    rows = np.arange(size)
    operations = np.where(exists[:, None], table.ops[rows, kind], NO_EDGE)  # (B, E)
    sources = table.inputs[rows, kind]  # (B, E)
    absent = _State.nodes(np.full(size, -1))
    for edge in range(0, operations.shape[1], 2):
        used = operations[:, edge] != NO_EDGE
        if not used.any():
            break
        a, b = (
            _edge(canvas, cell, e, operations[:, e], sources[:, e], states, reduction & ~table.is_vit, bn)
            for e in (edge, edge + 1)
        )
        states.append(canvas.sum(a, b, cell).where(used, absent))
    concat = table.concat[rows, kind]
    listed = [state.where(state_numbers(concat, s), absent) for s, state in enumerate(states) if s >= 2]
    return canvas.concat(listed, cell).where(exists, absent)


def _edge(
    canvas: _Canvas,
    cell: int,
    edge: int,
    operation: NDArray[np.uint8],
    source: NDArray[np.uint8],
    states: list[_State],
    reduction: NDArray[np.bool_],
    bn: Ints,
) -> _State:
    """What one edge of a cell passes on: an operation applied to the state that it reads."""
    rows = np.arange(canvas.size)
    exists = operation != NO_EDGE
    chosen = np.where(exists, source, 0).astype(np.int64)
    read = _State(
        np.stack([s.drawn for s in states])[chosen, rows],
        np.stack([s.summed for s in states])[chosen, rows],
        np.stack([s.final for s in states])[chosen, rows],
    )
    strided = (reduction & (chosen < 2)).astype(np.int64)
    op = np.where(exists, operation, OPERATION_INDEX["none"]).astype(np.int64)
    block = blocks.OPERATION[op, strided, bn]
    has_nodes = blocks.NODES.length[block] > 0
    result = canvas.apply(has_nodes, block, cell, edge, read).where(has_nodes, read)
    return result.where(op != OPERATION_INDEX["none"], _State.nodes(np.full(canvas.size, -1)))


@dataclass(frozen=True)
class _Nodes:
    """All nodes that were laid out, in order of architecture, then node."""

    net: Ints
    op: NDArray[np.uint8]
    cell: Ints
    name: Ints
    alive: NDArray[np.bool_]


def _collect(canvas: _Canvas, n_cells: Ints, output: Ints) -> tuple[_Nodes, Ints]:
    """All nodes, and all edges between nodes that reach the output as (3, E): net, source, target."""
    offset = np.cumsum(canvas.n_nodes) - canvas.n_nodes
    alive = np.zeros(canvas.n_nodes.sum(), np.bool_)
    reaching = output >= 0
    alive[(offset + output)[reaching]] = True
    living = []
    for laid in reversed(canvas.laid):
        at = offset[laid.net]
        lives = alive[at + laid.first + blocks.NODES.length[laid.block] - 1]
        living.append(lives)
        for node in laid.reads:
            read = lives & (node >= 0)
            alive[at[read] + node[read]] = True
    living.reverse()

    net = np.concatenate([laid.net for laid in canvas.laid])
    block = np.concatenate([laid.block for laid in canvas.laid])
    first = np.concatenate([laid.first for laid in canvas.laid])
    cell = np.repeat([laid.cell for laid in canvas.laid], [len(laid.net) for laid in canvas.laid])
    edge = np.repeat([laid.edge for laid in canvas.laid], [len(laid.net) for laid in canvas.laid])
    cell = np.where(cell < 0, n_cells[net] - 1, cell)
    lives = np.concatenate(living)

    owner, node = blocks.expand(blocks.NODES, block)
    position = (offset[net] + first)[owner] + node - blocks.NODES.start[block][owner]
    n = len(position)
    columns = np.empty((5, n), np.int64)
    columns[0, position] = net[owner]
    columns[1, position] = blocks.NODE_PRIMITIVE[node]
    columns[2, position] = cell[owner]
    shift = edge[owner] * blocks.NAMES_PER_OP * blocks.NODE_IS_PER_OP[node]
    columns[3, position] = blocks.NODES.values[node] + shift
    columns[4, position] = lives[owner]
    nodes = _Nodes(columns[0], columns[1].astype(np.uint8), columns[2], columns[3], columns[4].astype(np.bool_))

    here = np.flatnonzero(lives)
    owner, inner = blocks.expand(blocks.INNER_EDGES, block[here])
    base = first[here][owner]
    edges = [np.stack([net[here][owner], *(base + blocks.INNER_EDGES.values[inner].T)])]
    for laid, lives in zip(canvas.laid, living, strict=True):
        edges.extend(_incoming(laid, lives))
    return nodes, np.concatenate(edges, axis=1)


def _incoming(laid: _Laid, lives: NDArray[np.bool_]) -> list[Ints]:
    """Edges into a block from outside, where it reaches the output."""
    found = []
    if len(laid.reads) == 1:
        here = np.flatnonzero(lives)
        owner, entry = blocks.expand(blocks.ENTRIES, laid.block[here])
        at = here[owner]
        found.append(np.stack([laid.net[at], laid.reads[0][at], laid.first[at] + blocks.ENTRIES.values[entry]]))
    else:
        for node in laid.reads:
            here = np.flatnonzero(lives & (node >= 0))
            found.append(np.stack([laid.net[here], node[here], laid.first[here]]))
    return found


@dataclass(frozen=True, eq=False)
class Drawing:
    """All modules of B networks laid out; `connected` says whose input reaches the output."""

    table: ArchitectureTable
    connected: NDArray[np.bool_]
    nodes: _Nodes
    edges: Ints

    def count_parameters(self, image_size: int, num_classes: int) -> Ints:
        """(B,) exact numbers of trainable parameters; a norm layer has as many biases as weights."""
        cells = CellValues.of(self.table, image_size, num_classes)
        size = NodeDimensions.of(self.table, cells, self.nodes.net, self.nodes.cell, self.nodes.name).numel(cells)
        size *= _TENSORS[self.nodes.op]
        totals = np.concatenate([[0], np.cumsum(size)])
        bounds = np.searchsorted(self.nodes.net, np.arange(len(self.table) + 1))
        return totals[bounds[1:]] - totals[bounds[:-1]]

    def graphs(self) -> GraphColumns:
        """The graphs; those of networks that are not connected have no nodes."""
        return _renumber(self.nodes, self.edges, len(self.table))


def draw(table: ArchitectureTable) -> Drawing:
    """Lay out all modules of all networks."""
    canvas = _Canvas(len(table))
    before, previous = _stem(table, canvas)
    n_cells = table.n_cells.astype(np.int64)
    for cell in range(int(n_cells.max())):
        exists = cell < n_cells
        output = _cell(table, canvas, cell, (before, previous))
        before, previous = previous.where(exists, before), output.where(exists, previous)
    head = blocks.HEAD[table.glob_avg.astype(np.int64), table.fc_layers.astype(np.int64) - 1]
    end = canvas.lay(np.ones(len(table), np.bool_), head, -1, 0, previous.final)
    connected = previous.final >= 0
    return Drawing(table, connected, *_collect(canvas, n_cells, np.where(connected, end, -1)))


def count_parameters(table: ArchitectureTable, image_size: int, num_classes: int) -> Ints:
    """(B,) exact numbers of trainable parameters, without building the networks.

    Raises:
        ValueError: an image size other than 32 and 224.
    """
    return draw(table).count_parameters(image_size, num_classes)


def _renumber(nodes: _Nodes, edges: Ints, n_graphs: int) -> GraphColumns:
    """Keep the nodes that reach the output and number them within their graphs."""
    bounds = np.searchsorted(nodes.net, np.arange(n_graphs + 1))
    kept_before = np.concatenate([[0], np.cumsum(nodes.alive)])
    node_ptr = kept_before[bounds]
    net, *ends = edges
    source, target = (kept_before[bounds[net] + end] - node_ptr[net] for end in ends)
    key = np.sort((net << 32) | (target << 16) | source)
    key = key[np.concatenate([[True], key[1:] != key[:-1]])] if len(key) else key
    edge_ptr = np.searchsorted(key, np.arange(n_graphs + 1) << 32)
    return GraphColumns(
        node_ptr=node_ptr,
        edge_ptr=edge_ptr,
        op=nodes.op[nodes.alive],
        cell=nodes.cell[nodes.alive].astype(np.uint8),
        name=nodes.name[nodes.alive].astype(np.uint16),
        edge_src=(key & 0xFFFF).astype(np.uint16),
        edge_dst=(key >> 16 & 0xFFFF).astype(np.uint16),
    )


def symbolic_graph(architecture: Architecture, image_size: int = 32, num_classes: int = 10) -> ArchGraph:
    """The graph of one architecture, without building the network.

    That its widths match, which only genotypes without preprocessing can violate, is left to `Architecture.build`.

    Args:
        architecture: what to draw.
        image_size: height and width of the input, 32 or 224.
        num_classes: outputs of the classifier.

    Raises:
        ValueError: another image size, or an architecture whose input does not reach its output.
    """
    table = ArchitectureTable.from_architectures([architecture])
    columns = draw(table).graphs()
    if not len(columns.op):
        raise ValueError("the input of this architecture does not reach its output (too many 'none' operations)")
    cells = CellValues.of(table, image_size, num_classes)
    shape = NodeDimensions.of(table, cells, 0, columns.cell, columns.name).evaluate(cells)
    return ArchGraph.from_columns(
        columns.op, columns.cell, columns.name, shape, columns.edge_src, columns.edge_dst, blocks.NAMES
    )
