"""The blocks of `deepnets.symbolic.block_specs` compiled to arrays, and the frozen name vocabulary they define.

Symbolic graphs are made for many architectures at once by gathering from these arrays. A parameter name is stored
as an index into `NAMES`, whose entries keep a `{cell}` to fill in. The order of `NAMES` is part of the file format
only through the copy that every file carries.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.genotype import MAX_STEPS, OPERATIONS
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.symbolic.block_specs import (
    Block,
    aggregate,
    head,
    imagenet_stem,
    operation,
    preprocess,
    simple_stem,
    vit_stem,
)

_FLAGS = (False, True)
_BLOCKS: list[Block] = []


def _add(block: Block) -> int:
    _BLOCKS.append(block)
    return len(_BLOCKS) - 1


INPUT, SUM, CONCAT = (_add(aggregate(name)) for name in ("input", "sum", "concat"))
VIT_STEM = _add(vit_stem())
SIMPLE_STEM = np.array([[_add(simple_stem(pool, bn)) for bn in _FLAGS] for pool in _FLAGS])
"""[stem_pool, bn] -> block"""
IMAGENET_STEM = np.array([[_add(imagenet_stem(part, bn)) for bn in _FLAGS] for part in (0, 1)])
"""[part, bn] -> block"""
PREPROCESS = np.array([[[_add(preprocess(i, fr, bn)) for bn in _FLAGS] for fr in _FLAGS] for i in (0, 1)])
"""[cell input, factorized reduction, bn] -> block"""
OPERATION = np.array([[[_add(operation(op, s, bn)) for bn in _FLAGS] for s in _FLAGS] for op in OPERATIONS])
"""[operation, strided, bn] -> block"""
HEAD = np.array([[_add(head(glob_avg, n)) for n in (1, 2)] for glob_avg in _FLAGS])
"""[glob_avg, fc_layers - 1] -> block"""


@dataclass(frozen=True)
class _Flat:
    """Ragged rows, one per block, as one array and the bounds of the rows."""

    start: NDArray[np.int64]  # (blocks,)
    length: NDArray[np.int64]  # (blocks,)
    values: NDArray[np.int64]  # (sum of lengths, ...)

    @classmethod
    def of(cls, rows: list[list[int]] | list[list[tuple[int, int]]], width: int = 0) -> "_Flat":
        length = np.array([len(row) for row in rows])
        shape = (-1, width) if width else (-1,)
        values = np.array([value for row in rows for value in row], np.int64).reshape(shape)
        return cls(np.cumsum(length) - length, length, values)


def expand(rows: _Flat, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Concatenate the rows at `index`: (which entry of `index` each value comes from, its position in `values`)."""
    length = rows.length[index]
    owner = np.repeat(np.arange(len(index)), length)
    shift = rows.start[index] - (np.cumsum(length) - length)
    return owner, np.arange(len(owner)) + shift[owner]


_TEMPLATES = list(dict.fromkeys(node.name for block in _BLOCKS for node in block))
_FIXED = [name for name in _TEMPLATES if "{op}" not in name]
_PER_OP = [name for name in _TEMPLATES if "{op}" in name]

NAMES = (
    *_FIXED,
    *(name.replace("{op}", str(op)) for op in range(2 * MAX_STEPS) for name in _PER_OP),
)
"""Parameter names, or the primitive for nodes without parameters; `{cell}` is to be filled in."""

FIXED_NAMES = len(_FIXED)
NAMES_PER_OP = len(_PER_OP)
_NAME_INDEX = {name: index for index, name in enumerate(_FIXED + _PER_OP)}

NODES = _Flat.of([[_NAME_INDEX[node.name] for node in block] for block in _BLOCKS])
"""Nodes of each block; a value is a name for edge 0 of the cell, so edge k's is k * NAMES_PER_OP further."""
NODE_PRIMITIVE = np.array([PRIMITIVE_INDEX[node.primitive] for block in _BLOCKS for node in block], np.uint8)
NODE_IS_PER_OP = NODES.values >= FIXED_NAMES

INNER_EDGES = _Flat.of([[(r, i) for i, node in enumerate(b) for r in node.reads if r >= 0] for b in _BLOCKS], width=2)
"""(source, target) positions of the edges inside of each block."""
ENTRIES = _Flat.of([[i for i, node in enumerate(block) if -1 in node.reads] for block in _BLOCKS])
"""Positions of the nodes that read each block's input."""


SYMBOLS = (
    *("0", "1", "3", "5", "7"),
    *("in0", "in1", "cell"),  # widths of the cell's two inputs and of its states
    *("src0", "src1", "src2", "C"),  # width that an operation reads, by input state: 0, 1, any later one; first width
    *("cell/2", "src0/2", "src1/2", "src2/2", "C/2"),
    *("3src0", "3src1", "3src2"),
    *("stem", "features", "fc", "num_classes"),
    *("ks", "patch", "tokens"),  # sizes along height and width
)
"""What the dimensions of a shape are made of; `deepnets.symbolic.shapes` computes their values."""
SYMBOL_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}


def _shape_table() -> NDArray[np.int64]:
    """(names for edge 0, operations + 1, input states, 4): symbols of a node's shape.

    The second index is the operation for nodes of the cell's edges, else the last entry; the third is the input
    state of the edge: 0, 1 or 2 for any later one.
    """
    table = np.zeros((FIXED_NAMES + NAMES_PER_OP, len(OPERATIONS) + 1, 3, 4), np.int64)
    operation_of = {int(block): op for op, blocks in enumerate(OPERATION) for block in blocks.flat}
    for index, block in enumerate(_BLOCKS):
        for node in block:
            op = operation_of[index] if "{op}" in node.name else len(OPERATIONS)
            symbols = [[SYMBOL_INDEX[d.replace("src", f"src{state}")] for d in node.shape] for state in range(3)]
            known = table[_NAME_INDEX[node.name], op]
            assert not known.any() or (known == symbols).all(), node.name
            table[_NAME_INDEX[node.name], op] = symbols
    return table


SHAPES = _shape_table()
EDGE_OF_NAME = np.array([-1] * FIXED_NAMES + [i // NAMES_PER_OP for i in range(len(NAMES) - FIXED_NAMES)])
"""The edge of the cell that a name belongs to, -1 for none."""
TEMPLATE_OF_NAME = np.array(
    [n if n < FIXED_NAMES else FIXED_NAMES + (n - FIXED_NAMES) % NAMES_PER_OP for n in range(len(NAMES))]
)
"""The name as if for edge 0: the first index of `SHAPES`."""
