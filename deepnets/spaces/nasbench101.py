"""NAS-Bench-101 (Ying et al., 2019): cells of up to seven operations, trained for 108 epochs on CIFAR-10.

The network has three stacks of three modules with 128, 256 and 512 channels; all modules are the same cell.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepnets.spaces.block import INPUT, Block, BlockBuilder, stem_block
from deepnets.spaces.chain import Chain, Placed
from deepnets.spaces.tables import Table, Truth, read_table, truth_from_table
from deepnets.utils.errors import InputError

OPERATIONS = ("input", "output", "maxpool3x3", "conv1x1", "conv3x3")
"""The operations of vertices; the digit i of the published tables stands for the i-th."""

STEM_WIDTH = 128
STACKS = 3
MODULES_PER_STACK = 3


@dataclass(frozen=True)
class Cell101:
    """A cell without vertices that are on no path from its input, vertex 0, to its output, the last vertex.

    Args:
        operations: one of `OPERATIONS` for each vertex.
        sources: the vertices that each vertex reads, in ascending order.
    """

    operations: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]

    @classmethod
    def from_digits(cls, adjacency: str, operations: str) -> "Cell101":
        """Read a cell as the table writes it.

        Args:
            adjacency: the matrix of edges, row by row: n * n digits 0 or 1.
            operations: n digits, see `OPERATIONS`.

        Raises:
            InputError: the digits are not those of a cell whose input reaches its output.
        """
        n = len(operations)
        if len(adjacency) != n * n or set(adjacency) - set("01") or set(operations) - set("01234"):
            raise InputError(f"{adjacency!r}, {operations!r} is not a cell of NAS-Bench-101")
        matrix = np.array([digit == "1" for digit in adjacency]).reshape(n, n)
        if n < 2 or np.tril(matrix).any() or operations[0] + operations[-1] != "01":
            raise InputError(f"the edges of {adjacency!r}, {operations!r} do not lead from an input to an output")
        kept = _on_a_path(matrix)
        if 0 not in kept:
            raise InputError(f"the input of {adjacency!r}, {operations!r} does not reach its output")
        number = {vertex: position for position, vertex in enumerate(kept)}
        sources = tuple(tuple(number[s] for s in kept if matrix[s, vertex]) for vertex in kept)
        return cls(tuple(OPERATIONS[int(operations[vertex])] for vertex in kept), sources)

    def widths(self, width_in: int, width_out: int) -> tuple[int, ...]:
        """Return the number of channels of every vertex.

        The output concatenates the vertices that it reads, without the input, and divides its channels among them; if
        that leaves a remainder, the first vertices get one more each. Any other vertex is as wide as the widest vertex
        that reads it.
        """
        last = len(self.operations) - 1
        parts = [vertex for vertex in self.sources[last] if vertex > 0]
        widths = [width_in] + [0] * (last - 1) + [width_out]
        for position, vertex in enumerate(parts):
            widths[vertex] = width_out // len(parts) + (position < width_out % len(parts))
        for vertex in reversed(range(1, last)):
            if vertex not in parts:
                widths[vertex] = max(widths[v] for v in range(vertex + 1, last) if vertex in self.sources[v])
        return tuple(widths)


def _on_a_path(matrix: NDArray[np.bool_]) -> list[int]:
    """Return the vertices on paths from the first to the last one."""
    n = len(matrix)
    reached, reaching = {0}, {n - 1}
    for vertex in range(1, n):
        reached |= {vertex} if any(matrix[s, vertex] for s in reached) else set()
    for vertex in reversed(range(n - 1)):
        reaching |= {vertex} if any(matrix[vertex, t] for t in reaching) else set()
    return sorted(reached & reaching)


def _conv_bn(builder: BlockBuilder, x: int, name: str, out: int, width: int, kernel: int) -> int:
    return builder.bn(builder.conv(x, f"{name}.conv", out, width, kernel), f"{name}.bn", out)


def _module(cell: Cell101, width_in: int, width_out: int) -> Block:
    """Return the block of one module."""
    builder, name = BlockBuilder(), "cells.{cell}"
    widths, last = cell.widths(width_in, width_out), len(cell.operations) - 1
    states = [builder.input]
    for vertex in range(1, last):
        width = widths[vertex]
        terms = [states[source] for source in cell.sources[vertex] if source > 0]
        if 0 in cell.sources[vertex]:
            terms.append(_conv_bn(builder, builder.input, f"{name}.project_{vertex}", width, width_in, 1))
        x, operation = builder.sum(terms), cell.operations[vertex]
        if operation == "maxpool3x3":
            states.append(builder.pool(x, "max_pool", 3))
        else:
            states.append(_conv_bn(builder, x, f"{name}.vertex_{vertex}", width, width, int(operation[-1])))
    parts = [states[source] for source in cell.sources[last] if source > 0]
    terms = [builder.concat(parts) if len(parts) > 1 else parts[0]] if parts else []
    if 0 in cell.sources[last]:
        terms.append(_conv_bn(builder, builder.input, f"{name}.project_{last}", width_out, width_in, 1))
    return builder.block(builder.sum(terms))


@cache
def _pool() -> Block:
    builder = BlockBuilder()
    return builder.block(builder.pool(builder.input, "max_pool", 2))


@cache
def _head(num_classes: int, width: int) -> Block:
    builder = BlockBuilder()
    return builder.block(builder.classifier(builder.input, "classifier", num_classes, width))


def nasbench101_chain(cell: Cell101, num_classes: int = 10) -> Chain:
    """Return the network of a cell as blocks."""
    chain = [Placed(INPUT, 0), Placed(stem_block(STEM_WIDTH), 0)]
    width = STEM_WIDTH
    for stack in range(STACKS):
        first = stack * MODULES_PER_STACK
        if stack:
            chain.append(Placed(_pool(), first))
        width_in, width = width, width if stack == 0 else 2 * width
        chain.append(Placed(_module(cell, width_in, width), first))
        rest = _module(cell, width, width)
        chain += [Placed(rest, first + i) for i in range(1, MODULES_PER_STACK)]
    return [*chain, Placed(_head(num_classes, width), STACKS * MODULES_PER_STACK - 1)]


def cell_from_key(key: str) -> Cell101:
    """Read a cell from its key: adjacency and operations, with a dash between them.

    Raises:
        InputError: the key is not that of a cell.
    """
    adjacency, _, operations = key.partition("-")
    return Cell101.from_digits(adjacency, operations)


def _keys(table: Table) -> list[str]:
    return [f"{adjacency}-{ops}" for adjacency, ops in zip(table["adjacency49"], table["ops7"], strict=True)]


@cache
def nasbench101_truth() -> Truth:
    """Return the validation accuracies of the cells, in percent, after 108 epochs on CIFAR-10."""
    table = read_table("nasbench101_500")
    return truth_from_table(table, _keys(table), {"val_accuracy": "cifar10_val"})


def nasbench101_proxies() -> Truth:
    """Return the accuracies and zero-cost proxies that NAS-Bench-Suite-Zero recorded of the cells."""
    table = read_table("nasbench101_500")
    columns = {column: column for column in table if column not in ("adjacency49", "ops7")}
    return truth_from_table(table, _keys(table), columns)
