"""NAS-Bench-201 (Dong and Yang, 2020): all 15,625 cells of four nodes, trained for 200 epochs on three image sets.

A cell is a key of six digits, one for each of the edges 01, 02, 03, 12, 13, 23; node 0 is the input of the cell, node 3
its output, and every node is the sum of its edges. The network has three stages of five cells with 16, 32 and 64
channels, and a residual block of stride 2 between two stages.
"""

from functools import cache

from deepnets.spaces.block import INPUT, Block, BlockBuilder, stem_block
from deepnets.spaces.chain import Chain, Placed
from deepnets.spaces.tables import Truth, read_table, truth_from_table
from deepnets.utils.errors import InputError

OPERATIONS = ("skip", "none", "conv3x3", "conv1x1", "avg_pool3x3")
"""The digits of a key."""

EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""Source and target of each digit."""

WIDTHS = (16, 32, 64)
CELLS_PER_STAGE = 5


def operations_of(key: str) -> dict[tuple[int, int], str]:
    """Return the operation of each edge.

    Raises:
        InputError: the key is not six digits from 0 to 4.
    """
    if len(key) != len(EDGES) or any(digit not in "01234" for digit in key):
        raise InputError(f"{key!r} is not a cell of NAS-Bench-201, which is six digits from 0 to 4")
    return {edge: OPERATIONS[int(digit)] for edge, digit in zip(EDGES, key, strict=True)}


def is_connected(key: str) -> bool:
    """Return whether the input of a cell reaches its output."""
    operations = operations_of(key)
    reached = {0}
    for source, target in EDGES:  # in the order of their sources
        if source in reached and operations[source, target] != "none":
            reached.add(target)
    return 3 in reached


def _edge(builder: BlockBuilder, x: int, operation: str, name: str, width: int) -> int:
    if operation.startswith("conv"):
        x = builder.conv(x, f"{name}.conv", width, width, int(operation[-1]))
        return builder.bn(x, f"{name}.bn", width)
    return builder.pool(x, "avg_pool", 3) if operation == "avg_pool3x3" else x


def _cell(key: str) -> Block:
    """Return the block of a cell of the first stage; where nothing reaches the output, it passes its input on."""
    builder = BlockBuilder()
    operations = operations_of(key)
    states = {0: builder.input}  # without nodes that no edge leads to, which are zeros
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            operation = operations[source, target]
            if operation != "none":
                # The layers of an edge that reads zeros exist, but reach no output.
                name = f"cells.{{cell}}.edge_{source}{target}"
                y = _edge(builder, states.get(source, builder.input), operation, name, WIDTHS[0])
                terms += [y] if source in states else []
        if terms:
            states[target] = builder.sum(terms)
    return builder.block(states.get(3, builder.input))


@cache
def _reduction(width: int) -> Block:
    """Return the residual block that doubles the width."""
    builder, name, out = BlockBuilder(), "cells.{cell}", 2 * width
    x = builder.bn(builder.conv(builder.input, f"{name}.conv1", out, width, 3), f"{name}.bn1", out)
    x = builder.bn(builder.conv(x, f"{name}.conv2", out, out, 3), f"{name}.bn2", out)
    shortcut = builder.conv(builder.pool(builder.input, "avg_pool", 2), f"{name}.shortcut", out, width, 1)
    return builder.block(builder.sum([shortcut, x]))


@cache
def _head(num_classes: int, connected: bool) -> Block:
    builder = BlockBuilder()
    reads = [builder.input] if connected else []
    x = builder.node("bn", reads, "norm.weight", (WIDTHS[-1], 1, 1, 1))
    return builder.block(builder.classifier(x, "classifier", num_classes, WIDTHS[-1]))


def nasbench201_chain(key: str, num_classes: int = 10) -> Chain:
    """Return the network of a cell as blocks.

    The graph of a cell whose input does not reach its output has the input and what follows the last cell only.

    Raises:
        InputError: the key is not six digits from 0 to 4.
    """
    blocks, cell = [], _cell(key)
    for width in WIDTHS:
        blocks += [cell.widened(width // WIDTHS[0])] * CELLS_PER_STAGE
        blocks += [_reduction(width)] if width != WIDTHS[-1] else []
    head = Placed(_head(num_classes, is_connected(key)), len(blocks) - 1)
    return [
        Placed(INPUT, 0),
        Placed(stem_block(WIDTHS[0]), 0),
        *(Placed(block, i) for i, block in enumerate(blocks)),
        head,
    ]


@cache
def nasbench201_truth() -> Truth:
    """Return the accuracies of all cells, in percent, after 200 epochs, in the order of their keys."""
    table = read_table("nasbench201_200epochs")
    keys, *measured = table
    return truth_from_table(table, table[keys], {column: column for column in measured})


def nasbench201_proxies(dataset: str) -> Truth:
    """Return the accuracies and zero-cost proxies that NAS-Bench-Suite-Zero recorded of 725 cells.

    Args:
        dataset: "cifar10", "cifar100" or "ImageNet16-120".
    """
    table = read_table("zc_nasbench201_725")
    rows = [row for row, name in enumerate(table["dataset"]) if name == dataset]
    if not rows:
        known = ", ".join(sorted(set(table["dataset"])))
        raise InputError(f"there are no proxies for {dataset!r}; choose from {known}")
    part = {column: [values[row] for row in rows] for column, values in table.items()}
    keys = ["".join(digit for digit in cell if digit.isdigit()) for cell in part["arch"]]
    return truth_from_table(part, keys, {column: column for column in part if column not in ("dataset", "arch")})
