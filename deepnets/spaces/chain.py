"""Chains: networks as sequences of blocks, and their graphs, one by one or as columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.ragged import pointers
from deepnets.spaces.block import Block

Ints = NDArray[np.int64]


class Placed(NamedTuple):
    """A block as part of a network, and the cell of the network to which its nodes belong."""

    block: Block
    cell: int


Chain = Sequence[Placed]
"""A network: each block reads outputs of the two before it, and the last has the output of the network."""


def chain_num_params(chain: Chain) -> int:
    """Return the number of parameters of a network."""
    return sum(block.num_params for block, _ in chain)


@dataclass(frozen=True, eq=False)
class Drawn:
    """The graph of a chain.

    Args:
        graph_blocks: the blocks that the graph consists of.
        cell: (N,) uint8 cell of each node.
        edges: (2, E) int64 sources and targets, sorted by target, then source.
    """

    graph_blocks: list[Block]
    cell: NDArray[np.uint8]
    edges: Ints

    @property
    def op(self) -> NDArray[np.uint8]:
        """(N,) primitives."""
        return np.concatenate([block.op for block in self.graph_blocks])

    @property
    def shape(self) -> NDArray[np.int32]:
        """(N, 4) shapes."""
        return np.concatenate([block.shape for block in self.graph_blocks])

    @property
    def names(self) -> list[str]:
        """Names of the nodes, with `{cell}` for the number of the cell."""
        return [name for block in self.graph_blocks for name in block.name]


def draw_chain(chain: Chain) -> Drawn:
    """Draw the graph of a network: the first block, and the blocks that reach the output."""
    live = _live(chain)
    blocks = [chain[position].block for position in live]
    lengths = [len(block.op) for block in blocks]
    outputs = {-1: -1, -2: -1}  # node of the output of each block, by its position in the chain
    edges, start = [], 0
    for position, block, length in zip(live, blocks, lengths, strict=True):
        node = np.arange(start - 2, start + length)  # by the number in the block, from -2
        node[:2] = outputs.get(position - 2, -1), outputs.get(position - 1, -1)
        edges.append(node[block.edges + 2])
        outputs[position] = int(node[block.output + 2])
        start += length
    cell = np.repeat(np.array([chain[position].cell for position in live], np.uint8), lengths)
    return Drawn(blocks, cell, np.concatenate(edges, axis=1))


def _live(chain: Chain) -> list[int]:
    """Return the positions of the first block, which has the input, and of the blocks that reach the output."""
    live = {0, len(chain) - 1}
    for position in range(len(chain) - 1, 0, -1):
        if position in live:
            live.update(position + earlier for earlier in chain[position].block.reads)
    return sorted(live)


def chain_graph(chain: Chain) -> ArchGraph:
    """Return the graph of a network."""
    drawn = draw_chain(chain)
    names = [name.replace("{cell}", str(c)) for name, c in zip(drawn.names, drawn.cell.tolist(), strict=True)]
    return ArchGraph(drawn.op, drawn.cell, np.array(names), drawn.shape, drawn.edges.astype(np.int32))


class ShapedGraphs(NamedTuple):
    """Graphs of many networks, with the shapes and names of their nodes.

    Args:
        graphs: the graphs as columns.
        shape: (N, 4) int32 shapes of all nodes.
        vocabulary: names that the name column indexes, with `{cell}` for the number of the cell.
    """

    graphs: GraphColumns
    shape: NDArray[np.int32]
    vocabulary: tuple[str, ...]


def chain_columns(chains: Iterable[Chain]) -> ShapedGraphs:
    """Draw the graphs of many networks; blocks that they share are converted once."""
    drawn = [draw_chain(chain) for chain in chains]
    position: dict[str, int] = {}
    name_of: dict[int, NDArray[np.uint16]] = {}
    for graph in drawn:
        for block in graph.graph_blocks:
            if id(block) not in name_of:
                numbers = [position.setdefault(name, len(position)) for name in block.name]
                name_of[id(block)] = np.array(numbers, np.uint16)
    blocks = [block for graph in drawn for block in graph.graph_blocks]
    source, target = np.concatenate([graph.edges for graph in drawn], axis=1).astype(np.uint16)
    graphs = GraphColumns(
        node_ptr=pointers([len(graph.cell) for graph in drawn]),
        edge_ptr=pointers([graph.edges.shape[1] for graph in drawn]),
        op=np.concatenate([block.op for block in blocks]),
        cell=np.concatenate([graph.cell for graph in drawn]),
        name=np.concatenate([name_of[id(block)] for block in blocks]),
        edge_src=source,
        edge_dst=target,
    )
    return ShapedGraphs(graphs, np.concatenate([block.shape for block in blocks]), tuple(position))
