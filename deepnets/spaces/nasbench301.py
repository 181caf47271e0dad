"""NAS-Bench-301 (Siems et al., 2020): DARTS cells, whose CIFAR-10 accuracies a surrogate model predicts.

The accuracies are those of the surrogate, not of trained networks. The network has eight cells, with 32 channels in
the first; cells 2 and 5 are reduction cells. A cell has four states, each the sum of two operations on earlier states,
and concatenates them (DARTS).
"""

import ast
from dataclasses import dataclass
from functools import cache, lru_cache

from deepnets.spaces.block import INPUT, PASS_ON, Block, BlockBuilder, stem_block
from deepnets.spaces.chain import Chain, Placed
from deepnets.spaces.tables import Truth, read_table, truth_from_table
from deepnets.utils.errors import InputError

OPERATIONS = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
"""The operations of a cell by their number in the published table."""

N_CELLS = 8
WIDTH = 32
STEM_WIDTH = 3 * WIDTH
REDUCTIONS = (2, 5)
STATES = 4

Cell301 = tuple[tuple[int, str], ...]
"""Eight edges, two for each state: the state that it reads (0 and 1 are the inputs) and the operation."""


@dataclass(frozen=True)
class Genotype301:
    """The two cells of a network."""

    normal: Cell301
    reduce: Cell301

    @classmethod
    def from_text(cls, text: str) -> "Genotype301":
        """Read a genotype as the table writes it: `[[(input, operation), ...], [...]]`, with numbers of operations.

        Raises:
            InputError: the text is not a genotype.
        """
        try:
            cells = ast.literal_eval(text)
            normal, reduce = (tuple((int(state), OPERATIONS[op]) for state, op in cell) for cell in cells)
        except (ValueError, SyntaxError, TypeError, IndexError):
            raise InputError(f"{text!r} is not a genotype of NAS-Bench-301") from None
        for cell in (normal, reduce):
            if len(cell) != 2 * STATES or any(not 0 <= state < 2 + k // 2 for k, (state, _) in enumerate(cell)):
                raise InputError(f"{text!r} is not a genotype of NAS-Bench-301: an edge reads no earlier state")
        return cls(normal, reduce)


@dataclass(frozen=True)
class CellPlan:
    """One cell of a network.

    Args:
        cell: its edges.
        width: channels of its states.
        widths_in: channels of its inputs.
        reduction: whether it halves the map.
        after_reduction: whether the cell before it does, so that its first input is larger than the second.
    """

    cell: Cell301
    width: int
    widths_in: tuple[int, int]
    reduction: bool
    after_reduction: bool


def plan_cells(genotype: Genotype301) -> list[CellPlan]:
    """Return all cells of a network."""
    plans, width, widths_in = [], WIDTH, (STEM_WIDTH, STEM_WIDTH)
    for number in range(N_CELLS):
        reduction = number in REDUCTIONS
        width *= 2 if reduction else 1
        cell = genotype.reduce if reduction else genotype.normal
        plans.append(CellPlan(cell, width, widths_in, reduction, number - 1 in REDUCTIONS))
        widths_in = (widths_in[1], STATES * width)
    return plans


_CELL = "cells.{cell}"


def _factorized_reduce(builder: BlockBuilder, x: int, name: str, out: int, width: int) -> int:
    halves = [builder.conv(x, f"{name}.conv{half}", out // 2, width, 1) for half in (1, 2)]
    return builder.concat(halves)


def _preprocess(builder: BlockBuilder, plan: CellPlan, number: int) -> int:
    x, name = (builder.earlier_input, builder.input)[number], f"{_CELL}.preprocess{number}"
    if number == 0 and plan.after_reduction:
        x = _factorized_reduce(builder, x, name, plan.width, plan.widths_in[0])
    else:
        x = builder.conv(x, f"{name}.conv", plan.width, plan.widths_in[number], 1)
    return builder.bn(x, f"{name}.bn", plan.width)


def _operation(builder: BlockBuilder, x: int, operation: str, name: str, width: int, stride: int) -> int:
    """Add the nodes of an operation; its batch norms have no parameters, so they have no nodes."""
    if operation == "skip_connect":
        return x if stride == 1 else _factorized_reduce(builder, x, name, width, width)
    if "pool" in operation:
        return builder.pool(x, operation.removesuffix("_3x3"), 3)
    kernel, dilated = int(operation[-1]), operation.startswith("dil")
    for layer in (1,) if dilated else (1, 2):
        x = builder.depthwise(x, f"{name}.depthwise{layer}", width, kernel, dilated)
        x = builder.conv(x, f"{name}.pointwise{layer}", width, width, 1)
    return x


@lru_cache(maxsize=32)
def _cell(plan: CellPlan) -> Block:
    builder = BlockBuilder()
    states = [_preprocess(builder, plan, 0), _preprocess(builder, plan, 1)]
    for state in range(2, 2 + STATES):
        terms = []
        for edge in (2 * state - 4, 2 * state - 3):
            source, operation = plan.cell[edge]
            stride = 2 if plan.reduction and source < 2 else 1
            terms.append(_operation(builder, states[source], operation, f"{_CELL}.edges.{edge}", plan.width, stride))
        states.append(builder.sum(terms))
    return builder.block(builder.concat(states[2:]))


@cache
def _head(num_classes: int, width: int) -> Block:
    builder = BlockBuilder()
    return builder.block(builder.classifier(builder.input, "classifier", num_classes, width))


def nasbench301_chain(genotype: Genotype301, num_classes: int = 10) -> Chain:
    """Return the network of a genotype as blocks."""
    plans = plan_cells(genotype)
    cells = [Placed(_cell(plan), number) for number, plan in enumerate(plans)]
    head = Placed(_head(num_classes, STATES * plans[-1].width), N_CELLS - 1)
    # Both inputs of the first cell are the stem.
    return [Placed(INPUT, 0), Placed(stem_block(STEM_WIDTH), 0), Placed(PASS_ON, 0), *cells, head]


@cache
def nasbench301_truth() -> Truth:
    """Return the CIFAR-10 accuracies, in percent, that the surrogate model of NAS-Bench-301 predicts."""
    table = read_table("zc_nasbench301_725")
    return truth_from_table(table, table["arch"], {"val_accuracy": "cifar10_val_surrogate"})


def nasbench301_proxies() -> Truth:
    """Return the surrogate's accuracies and the zero-cost proxies that NAS-Bench-Suite-Zero recorded."""
    table = read_table("zc_nasbench301_725")
    return truth_from_table(
        table, table["arch"], {column: column for column in table if column not in ("dataset", "arch")}
    )
