"""Architecture -> graph without building a network, for many architectures at once.

The cells are walked in order, as in the network's forward pass, but every step is one array operation over all
architectures. A step adds a block (`block_tables`) to the graphs of some architectures, records the nodes that the
block reads, and returns the node that it ends in. Rules (DeepNets-1M paper, section A.1, and the reference graphs):

* `none` drops what it reads; a state that reads nothing is absent, and so is a concatenation of absent states;
* a sum with fewer than two distinct producers is not a node, counted while all sums and concatenations are nodes;
  afterwards the same holds for concatenations;
* nodes that do not reach the output are removed, but the parameters of all modules count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture import Architecture
from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable, concatenates
from deepnets.design_space.genotype import OPERATION_INDEX
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.graphs.ragged import pointers
from deepnets.symbolic import block_tables as blocks
from deepnets.symbolic.shapes import CellValues, NodeDimensions, node_shapes, reduction_cells
from deepnets.utils.errors import InputError

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_TENSORS = np.array([{"bn": 2, "ln": 2, "max_pool": 0, "avg_pool": 0}.get(primitive, 1) for primitive in PRIMITIVES])
"""Trainable tensors of the node's shape, for each primitive: a norm layer has a bias besides its weight."""

_FIRST_PLACEHOLDER = 1_000_000  # more than any node number
_LAST_CELL = -1  # stands for the last cell of each network, to which the head belongs


@dataclass(frozen=True, eq=False)
class _Tensor:
    """The nodes that produce a tensor in each of B networks; -1 where it is absent.

    Shapes:
        producer_before_pruning: (B,) producer while all sums and concatenations are nodes.
        producer_after_sums: (B,) producer once sums of fewer than two producers are gone.
        node: (B,) node in the graph.
    """

    producer_before_pruning: Ints
    producer_after_sums: Ints
    node: Ints

    @classmethod
    def from_node(cls, node: Ints) -> "_Tensor":
        """Return the output of a node."""
        return cls(node, node, node)

    @classmethod
    def absent(cls, size: int) -> "_Tensor":
        """Return a tensor that no network has."""
        return cls.from_node(np.full(size, -1))

    @classmethod
    def choose(cls, tensors: Sequence["_Tensor"], choice: Ints) -> "_Tensor":
        """Return the tensor that is `tensors[choice[b]]` in network b."""
        row = np.arange(len(choice))
        return cls(
            np.stack([t.producer_before_pruning for t in tensors])[choice, row],
            np.stack([t.producer_after_sums for t in tensors])[choice, row],
            np.stack([t.node for t in tensors])[choice, row],
        )

    def where(self, condition: Mask, other: "_Tensor") -> "_Tensor":
        """Return this tensor in the networks where the condition holds, and the other one elsewhere."""
        return _Tensor(
            np.where(condition, self.producer_before_pruning, other.producer_before_pruning),
            np.where(condition, self.producer_after_sums, other.producer_after_sums),
            np.where(condition, self.node, other.node),
        )


@dataclass(frozen=True, eq=False)
class _PlacedBlock:
    """A block in the graphs of some networks.

    Shapes:
        net: (K,) networks.
        block: (K,) block in each of them.
        first: (K,) its first node.
        reads: (K,) each: nodes that its entry nodes, or the aggregate, read; -1 for none.
    """

    net: Ints
    block: Ints
    cell: int
    edge: int
    first: Ints
    reads: tuple[Ints, ...]


class GraphBuilder:
    """Adds blocks to the graphs of B networks and numbers their nodes, separately in each network."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.n_nodes = np.zeros(size, np.int64)
        self.placed: list[_PlacedBlock] = []
        self._placeholders = 0

    def placeholder(self) -> int:
        """Return a producer number for a sum or a concatenation that is not a node of the graph."""
        self._placeholders += 1
        return _FIRST_PLACEHOLDER + self._placeholders

    def add_block(self, mask: Mask, block: Ints, cell: int, edge: int, *reads: Ints) -> Ints:
        """Add block[b] to every network b of the mask, and return the (B,) nodes that they end in, -1 elsewhere.

        Blocks without nodes cannot be added: exclude them from the mask.
        """
        end = np.full(self.size, -1)
        net = np.flatnonzero(mask)
        if len(net):
            block = block[net]
            first = self.n_nodes[net]
            self.n_nodes[net] += blocks.NODES.length[block]
            end[net] = self.n_nodes[net] - 1
            self.placed.append(_PlacedBlock(net, block, cell, edge, first, tuple(node[net] for node in reads)))
        return end

    def apply(self, mask: Mask, block: Ints, cell: int, edge: int, source: _Tensor) -> _Tensor:
        """Add a layer that reads a tensor. Its output is absent where the tensor is, although its parameters exist."""
        end = self.add_block(mask, block, cell, edge, source.node)
        return _Tensor.from_node(np.where(source.node >= 0, end, -1))

    def sum(self, a: _Tensor, b: _Tensor, cell: int) -> _Tensor:
        """Add the sum of two tensors, either of which may be absent."""
        producer_a, producer_b = a.producer_before_pruning, b.producer_before_pruning
        either = a.where(producer_a >= 0, b)
        both = (producer_a >= 0) & (producer_b >= 0)
        distinct = both & (producer_a != producer_b)
        node = self.add_block(distinct, np.full(self.size, blocks.SUM), cell, 0, a.node, b.node)
        # A sum of one tensor is that tensor; the sum of a tensor with itself is a producer while sums are counted.
        producer = np.where(both, self.placeholder(), either.producer_before_pruning)
        single = _Tensor(producer, either.producer_after_sums, either.node)
        return _Tensor.from_node(node).where(distinct, single)

    def concat(self, tensors: Sequence[_Tensor], cell: int) -> _Tensor:
        """Add the concatenation of tensors, any of which may be absent."""
        first = tensors[0]
        for tensor in tensors[1:]:
            first = first.where(first.producer_after_sums >= 0, tensor)
        several = np.zeros(self.size, np.bool_)
        for tensor in tensors:
            several |= (tensor.producer_after_sums >= 0) & (tensor.producer_after_sums != first.producer_after_sums)
        reads = (tensor.node for tensor in tensors)
        node = self.add_block(several, np.full(self.size, blocks.CONCAT), cell, 0, *reads)
        producer = np.where(first.producer_after_sums >= 0, self.placeholder(), -1)
        return _Tensor.from_node(node).where(several, _Tensor(producer, producer, first.node))


@dataclass(frozen=True, eq=False)
class _Cell:
    """The cells with the same number in B networks.

    Shapes:
        exists: (B,) whether the network has so many cells.
        strided: (B,) whether operations on the cell's inputs have stride 2.
        halve_first: (B,) whether the first input is twice as large as the second.
        preproc: (B,) whether 1x1 convolutions stand at the inputs.
        bn: (B,) 1 with batch norm, else 0.
        operations, inputs: (B, E) operation of each edge and state that it reads.
        concat: (B,) states that the cell concatenates, as bits.
    """

    number: int
    exists: Mask
    strided: Mask
    halve_first: Mask
    preproc: Mask
    bn: Ints
    operations: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    concat: NDArray[np.uint16]

    @classmethod
    def from_table(cls, table: ArchitectureTable, number: int) -> "_Cell":
        n_cells = table.n_cells.astype(np.int64)
        exists = number < n_cells
        reductions = np.stack(reduction_cells(n_cells))
        reduction = (reductions == number).any(axis=0) & exists
        after_reduction = (reductions == number - 1).any(axis=0) if number else table.stem_type == 1
        row, cell_type = np.arange(len(table)), reduction.astype(np.int64)  # 0 normal, 1 reduction
        return cls(
            number=number,
            exists=exists,
            strided=reduction & ~table.is_vit,
            halve_first=after_reduction & ~table.is_vit,
            preproc=exists & table.preproc,
            bn=table.bn.astype(np.int64),
            operations=np.where(exists[:, None], table.ops[row, cell_type], np.uint8(NO_EDGE)),
            inputs=table.inputs[row, cell_type],
            concat=table.concat[row, cell_type],
        )


def _add_stem(builder: GraphBuilder, table: ArchitectureTable) -> tuple[_Tensor, _Tensor]:
    """Add the stems and return the two inputs of cell 0."""
    every = np.ones(len(table), np.bool_)
    bn = table.bn.astype(np.int64)
    vit = table.is_vit
    imagenet = ~vit & (table.stem_type == 1)
    image = builder.add_block(every, np.full(len(table), blocks.INPUT), 0, 0)
    simple = np.where(vit, blocks.VIT_STEM, blocks.SIMPLE_STEM[table.stem_pool.astype(np.int64), bn])
    stem = builder.add_block(~imagenet, simple, 0, 0, image)
    stem0 = builder.add_block(imagenet, blocks.IMAGENET_STEM[0, bn], 0, 0, image)
    stem1 = builder.add_block(imagenet, blocks.IMAGENET_STEM[1, bn], 0, 0, stem0)
    first, second = (np.where(imagenet, node, stem) for node in (stem0, stem1))
    return _Tensor.from_node(first), _Tensor.from_node(second)


def _add_cell(builder: GraphBuilder, cell: _Cell, inputs: tuple[_Tensor, _Tensor]) -> _Tensor:
    """Add one cell to the networks that have it, and return its output."""
    absent = _Tensor.absent(builder.size)
    states = [_add_preprocessing(builder, cell, position, inputs[position]) for position in (0, 1)]
    for edge in range(0, cell.operations.shape[1], 2):
        used = cell.operations[:, edge] != NO_EDGE
        if not used.any():
            break
        a, b = (_add_edge(builder, cell, number, states) for number in (edge, edge + 1))
        states.append(builder.sum(a, b, cell.number).where(used, absent))
    joined = [state.where(concatenates(cell.concat, s), absent) for s, state in enumerate(states) if s >= 2]
    return builder.concat(joined, cell.number).where(cell.exists, absent)


def _add_preprocessing(builder: GraphBuilder, cell: _Cell, position: int, source: _Tensor) -> _Tensor:
    """Add the layers at input 0 or 1 of a cell, where it has preprocessing."""
    halved = cell.halve_first.astype(np.int64) * (position == 0)
    block = blocks.PREPROCESS[position, halved, cell.bn]
    return builder.apply(cell.preproc, block, cell.number, 0, source).where(cell.preproc, source)


def _add_edge(builder: GraphBuilder, cell: _Cell, edge: int, states: Sequence[_Tensor]) -> _Tensor:
    """Add the operation of one edge of a cell, applied to the state that the edge reads."""
    none = OPERATION_INDEX["none"]
    operation = cell.operations[:, edge]
    exists = operation != NO_EDGE
    state = np.where(exists, cell.inputs[:, edge], 0).astype(np.int64)
    source = _Tensor.choose(states, state)
    op = np.where(exists, operation, none).astype(np.int64)
    strided = (cell.strided & (state < 2)).astype(np.int64)
    block = blocks.OPERATION[op, strided, cell.bn]
    has_nodes = blocks.NODES.length[block] > 0
    output = builder.apply(has_nodes, block, cell.number, edge, source).where(has_nodes, source)
    return output.where(op != none, _Tensor.absent(builder.size))


def _live_blocks(builder: GraphBuilder, output: Ints) -> list[Mask]:
    """Return, for every placed block, the (K,) networks whose output depends on it.

    Args:
        output: (B,) last node of each network, -1 where the input does not reach it.
    """
    offset = np.cumsum(builder.n_nodes) - builder.n_nodes
    live_node = np.zeros(builder.n_nodes.sum(), np.bool_)
    live_node[(offset + output)[output >= 0]] = True
    live = []
    for placed in reversed(builder.placed):
        base = offset[placed.net]
        live_block = live_node[base + placed.first + blocks.NODES.length[placed.block] - 1]
        live.append(live_block)
        for node in placed.reads:
            read = live_block & (node >= 0)
            live_node[base[read] + node[read]] = True
    return live[::-1]


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The nodes of all modules of B networks, in order of network, then node; `live` ones reach the output."""

    net: Ints
    op: NDArray[np.uint8]
    cell: Ints
    name: Ints
    live: Mask


def _all_nodes(builder: GraphBuilder, n_cells: Ints, live: Sequence[Mask]) -> _Nodes:
    """Return the nodes of all placed blocks."""
    placed = builder.placed
    sizes = [len(block.net) for block in placed]
    net, block, first = (np.concatenate([getattr(p, name) for p in placed]) for name in ("net", "block", "first"))
    cell = np.repeat([p.cell for p in placed], sizes)
    cell = np.where(cell == _LAST_CELL, n_cells[net] - 1, cell)
    first_name = np.repeat([p.edge * blocks.NAMES_PER_OP for p in placed], sizes)

    offset = np.cumsum(builder.n_nodes) - builder.n_nodes
    owner, node = blocks.NODES.gather(block)
    position = (offset[net] + first)[owner] + node - blocks.NODES.start[block][owner]
    # Blocks were placed in all networks at once; their nodes are now put in order of network.
    order = np.empty_like(position)
    order[position] = np.arange(len(position))
    owner, node = owner[order], node[order]
    return _Nodes(
        net=net[owner],
        op=blocks.NODE_PRIMITIVE[node],
        cell=cell[owner],
        name=blocks.NODES.values[node] + first_name[owner] * blocks.NODE_IS_PER_OP[node],
        live=np.concatenate(live)[owner],
    )


def _live_edges(builder: GraphBuilder, live: Sequence[Mask]) -> Ints:
    """Return the (3, E) edges between nodes that reach the output: network, source, target."""
    edges = []
    for placed, mask in zip(builder.placed, live, strict=True):
        edges.append(_inner_edges(placed, np.flatnonzero(mask)))
        edges.extend(_incoming_edges(placed, mask))
    return np.concatenate(edges, axis=1)


def _inner_edges(placed: _PlacedBlock, live: Ints) -> Ints:
    """Return the edges between nodes of a block."""
    owner, edge = blocks.INNER_EDGES.gather(placed.block[live])
    at = live[owner]
    return np.stack([placed.net[at], *(placed.first[at] + blocks.INNER_EDGES.values[edge].T)])


def _incoming_edges(placed: _PlacedBlock, live: Mask) -> list[Ints]:
    """Return the edges into a block from outside."""
    if len(placed.reads) == 1:
        rows = np.flatnonzero(live)
        owner, entry = blocks.ENTRIES.gather(placed.block[rows])
        at = rows[owner]
        return [np.stack([placed.net[at], placed.reads[0][at], placed.first[at] + blocks.ENTRIES.values[entry]])]
    edges = []
    for node in placed.reads:
        at = np.flatnonzero(live & (node >= 0))
        edges.append(np.stack([placed.net[at], node[at], placed.first[at]]))
    return edges


@dataclass(frozen=True, eq=False)
class UnprunedGraphs:
    """The graphs of B networks with nodes for all modules, also for those that the output does not depend on.

    Args:
        table: the architectures.
        connected: (B,) whether the input reaches the output.
        nodes: nodes of all modules.
        edges: (3, E) network, source and target of the edges between nodes that reach the output.
    """

    table: ArchitectureTable
    connected: Mask
    nodes: _Nodes
    edges: Ints

    def count_parameters(self, image_size: int, num_classes: int) -> Ints:
        """Return the (B,) exact numbers of trainable parameters, modules that are not used included.

        Raises:
            InputError: an image size other than 32 and 224.
        """
        cells = CellValues.from_table(self.table, image_size, num_classes)
        nodes = self.nodes
        size = NodeDimensions.from_names(self.table, cells, nodes.net, nodes.cell, nodes.name).numel(cells)
        size *= _TENSORS[nodes.op]
        totals = pointers(size)
        bounds = np.searchsorted(nodes.net, np.arange(len(self.table) + 1))
        return totals[bounds[1:]] - totals[bounds[:-1]]

    def prune(self) -> GraphColumns:
        """Return the graphs of the nodes that reach the output; networks that are not connected have none."""
        nodes, networks = self.nodes, np.arange(len(self.table) + 1)
        bounds = np.searchsorted(nodes.net, networks)
        live_before = pointers(nodes.live)
        node_ptr = live_before[bounds]
        net, *ends = self.edges
        source, target = (live_before[bounds[net] + end] - node_ptr[net] for end in ends)
        key = np.sort((net << 32) | (target << 16) | source)
        key = key[np.concatenate([[True], key[1:] != key[:-1]])] if len(key) else key
        return GraphColumns(
            node_ptr=node_ptr,
            edge_ptr=np.searchsorted(key, networks << 32),
            op=nodes.op[nodes.live],
            cell=nodes.cell[nodes.live].astype(np.uint8),
            name=nodes.name[nodes.live].astype(np.uint16),
            edge_src=(key & 0xFFFF).astype(np.uint16),
            edge_dst=(key >> 16 & 0xFFFF).astype(np.uint16),
        )


def build_graphs(table: ArchitectureTable) -> UnprunedGraphs:
    """Build the graphs of all modules of all networks."""
    builder = GraphBuilder(len(table))
    before, previous = _add_stem(builder, table)
    n_cells = table.n_cells.astype(np.int64)
    for number in range(int(n_cells.max())):
        cell = _Cell.from_table(table, number)
        output = _add_cell(builder, cell, (before, previous))
        before, previous = previous.where(cell.exists, before), output.where(cell.exists, previous)
    head = blocks.HEAD[table.glob_avg.astype(np.int64), table.fc_layers.astype(np.int64) - 1]
    end = builder.add_block(np.ones(len(table), np.bool_), head, _LAST_CELL, 0, previous.node)
    connected = previous.node >= 0
    live = _live_blocks(builder, np.where(connected, end, -1))
    return UnprunedGraphs(table, connected, _all_nodes(builder, n_cells, live), _live_edges(builder, live))


def count_parameters(table: ArchitectureTable, image_size: int, num_classes: int) -> Ints:
    """Return the (B,) exact numbers of trainable parameters, without building the networks.

    Raises:
        InputError: an image size other than 32 and 224.
    """
    return build_graphs(table).count_parameters(image_size, num_classes)


def symbolic_graph(architecture: Architecture, image_size: int = 32, num_classes: int = 10) -> ArchGraph:
    """Return the graph of an architecture, without building the network.

    Widths that do not match, which only genotypes without preprocessing can have, are found by `Architecture.build`.

    >>> from deepnets.design_space.named_architectures import resnet18
    >>> len(symbolic_graph(resnet18(), image_size=32, num_classes=10))
    55

    Args:
        architecture: the network to describe.
        image_size: height and width of the input, 32 or 224.
        num_classes: outputs of the classifier.

    Raises:
        InputError: another image size, or an architecture whose input does not reach its output.
    """
    return symbolic_graphs([architecture], image_size, num_classes)[0]


def symbolic_graphs(architectures: Sequence[Architecture], image_size: int, num_classes: int) -> list[ArchGraph]:
    """Return the graphs of several architectures, which takes a fraction of the time of one after the other.

    Args:
        architectures: the networks to describe.
        image_size, num_classes: as in `symbolic_graph`.

    Raises:
        InputError: as `symbolic_graph`.
    """
    table = ArchitectureTable.from_architectures(architectures)
    graphs = build_graphs(table).prune()
    if len(graphs) < len(table) or not graphs.num_nodes.all():
        raise InputError("the input of this architecture does not reach its output (too many 'none' operations)")
    return graphs.arch_graphs(node_shapes(table, graphs, image_size, num_classes), blocks.NAMES)
