"""Blocks: parts of a network as small graphs, which are chained to the graph of the whole network.

A cell that a network repeats is drawn once. The rules for nodes are those of traced graphs (`deepnets.tracing`): no
nodes for nonlinearities, identities and norm layers without parameters; a join of fewer than two producers has no node;
nodes stand in the order in which the network runs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.tracing.prune import prune
from deepnets.tracing.values import TracedNode

NO_SHAPE = (0, 0, 0, 0)

_INPUT, _OUTPUT = "block input", "block output"


@dataclass(frozen=True, eq=False)
class Block:
    """A part of a network as a graph.

    Its inputs are outputs of earlier blocks of a chain: -1 is the output of the previous block, -2 that of the block
    before it.

    Args:
        op: (N,) uint8 primitives.
        name: (N,) names of the parameters, or primitives; `{cell}` stands for the number of the cell.
        shape: (N, 4) int32 shapes (out, in, height, width).
        edges: (2, E) int64 sources and targets, sorted by target, then source; sources below 0 are inputs.
        output: node of the output, or an input if the block passes it on.
        reads: the inputs that its nodes or its output read.
        weights: elements of the weights of its convolutions and linear layers, those that do not reach the output
            included.
        vectors: elements of its other parameters, also included.
    """

    op: NDArray[np.uint8]
    name: tuple[str, ...]
    shape: NDArray[np.int32]
    edges: NDArray[np.int64]
    output: int
    reads: frozenset[int]
    weights: int
    vectors: int

    @property
    def num_params(self) -> int:
        """Number of parameters, those of layers that do not reach the output included."""
        return self.weights + self.vectors

    def widened(self, factor: int) -> "Block":
        """Return the block with all channels multiplied; the block has no depthwise convolutions."""
        channels = self.shape[:, :2]
        shape = np.concatenate([np.where(channels > 1, factor * channels, channels), self.shape[:, 2:]], axis=1)
        return replace(self, shape=shape, weights=factor**2 * self.weights, vectors=factor * self.vectors)


class BlockBuilder:
    """Builds a block node by node, in the order in which the network runs its layers.

    Methods return the number of the node they add; `self.input` and `self.earlier_input` are the inputs -1 and -2.

    Example:
        >>> builder = BlockBuilder()
        >>> x = builder.conv(builder.input, "conv", 16, 3, 3)
        >>> builder.block(builder.bn(x, "bn", 16)).num_params
        464
    """

    def __init__(self) -> None:
        self.earlier_input, self.input = 0, 1
        self._nodes = [TracedNode(_INPUT, "-2", ()), TracedNode(_INPUT, "-1", ())]
        self.weights, self.vectors = 0, 0

    def node(self, primitive: str, reads: Sequence[int], name: str = "", shape: tuple[int, ...] = NO_SHAPE) -> int:
        """Add any node; nodes without parameters have the name of their primitive."""
        self._nodes.append(TracedNode(primitive, name or primitive, shape, list(reads)))
        if primitive.endswith("conv"):
            self.weights += shape[0] * shape[1] * shape[2] * shape[3]
        elif primitive in ("bn", "bias"):
            # A norm layer has as many biases as weights.
            self.vectors += 2 * shape[0] if primitive == "bn" else shape[0]
        return len(self._nodes) - 1

    def conv(self, x: int, name: str, out: int, width: int, kernel: int) -> int:
        """Add a convolution without bias."""
        return self.node("conv", [x], f"{name}.weight", (out, width, kernel, kernel))

    def depthwise(self, x: int, name: str, width: int, kernel: int, dilated: bool = False) -> int:
        """Add a depthwise convolution without bias."""
        return self.node("dil_conv" if dilated else "sep_conv", [x], f"{name}.weight", (width, 1, kernel, kernel))

    def bn(self, x: int, name: str, width: int) -> int:
        """Add a batch norm with weight and bias."""
        return self.node("bn", [x], f"{name}.weight", (width, 1, 1, 1))

    def pool(self, x: int, primitive: str, kernel: int) -> int:
        """Add a pooling layer."""
        return self.node(primitive, [x], shape=(1, 1, kernel, kernel))

    def classifier(self, x: int, name: str, num_classes: int, width: int) -> int:
        """Add global average pooling and a linear layer."""
        x = self.node("conv", [self.node("glob_avg", [x])], f"{name}.weight", (num_classes, width, 1, 1))
        return self.node("bias", [x], f"{name}.bias", (num_classes, 1, 1, 1))

    def sum(self, terms: Sequence[int]) -> int:
        """Add the nodes of a sum from left to right, two terms each."""
        total = terms[0]
        for term in terms[1:]:
            total = self.node("sum", [total, term])
        return total

    def concat(self, parts: Sequence[int]) -> int:
        """Add a concatenation."""
        return self.node("concat", parts)

    def block(self, output: int) -> Block:
        """Return the block of the nodes that reach the output."""
        kept, _ = prune([*self._nodes, TracedNode(_OUTPUT, "", (), [output])], [len(self._nodes)])
        nodes = [node for node in kept if node.primitive not in (_INPUT, _OUTPUT)]
        first = len(kept) - 1 - len(nodes)
        number = [int(node.name) if n < first else n - first for n, node in enumerate(kept)]
        rows = [(number[n], number[read]) for n, node in enumerate(kept[:-1]) for read in node.reads]
        end = number[kept[-1].reads[0]]
        return Block(
            op=np.array([PRIMITIVE_INDEX[node.primitive] for node in nodes], np.uint8),
            name=tuple(node.name for node in nodes),
            shape=np.array([node.shape for node in nodes], np.int32).reshape(-1, 4),
            edges=np.array(sorted(rows), np.int64).reshape(-1, 2).T[::-1],
            output=end,
            reads=frozenset(source for source in (end, *(read for _, read in rows)) if source < 0),
            weights=self.weights,
            vectors=self.vectors,
        )


def _without_parameters() -> tuple[Block, Block]:
    images, identity = BlockBuilder(), BlockBuilder()
    return images.block(images.node("input", [])), identity.block(identity.input)


INPUT, PASS_ON = _without_parameters()
"""The images, which every network begins with, and a block whose output is its input."""


@cache
def stem_block(width: int) -> Block:
    """Return the stem of the NAS benchmarks: a 3x3 convolution of the images to `width` channels, and its norm."""
    builder = BlockBuilder()
    x = builder.conv(builder.input, "stem.conv", width, 3, 3)
    return builder.block(builder.bn(x, "stem.bn", width))
