"""The blocks of `deepnets.symbolic.block_specs` as arrays, and the frozen vocabulary of names that they define.

Symbolic graphs are built for many architectures at once by gathering from these arrays. A parameter name is stored
as an index into `NAMES`, whose entries keep a `{cell}` to fill in. Every file carries a copy of `NAMES`, so that its
order may change.
"""

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.genotype import MAX_STEPS, OPERATIONS
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.graphs.ragged import RaggedArray
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


_TEMPLATES = list(dict.fromkeys(node.name for block in _BLOCKS for node in block))
_FIXED = [name for name in _TEMPLATES if "{op}" not in name]
_PER_OP = [name for name in _TEMPLATES if "{op}" in name]

NAMES = (
    *_FIXED,
    *(name.replace("{op}", str(op)) for op in range(2 * MAX_STEPS) for name in _PER_OP),
)
"""Names of parameters, or the primitive for nodes without parameters; `{cell}` stands for the node's cell."""

FIXED_NAMES = len(_FIXED)
NAMES_PER_OP = len(_PER_OP)
_NAME_INDEX = {name: index for index, name in enumerate(_FIXED + _PER_OP)}

NODES = RaggedArray.from_rows([[_NAME_INDEX[node.name] for node in block] for block in _BLOCKS])
"""Nodes of each block, as indices into `NAMES` for edge 0 of a cell. For edge k add k * NAMES_PER_OP."""
NODE_PRIMITIVE = np.array([PRIMITIVE_INDEX[node.primitive] for block in _BLOCKS for node in block], np.uint8)
NODE_IS_PER_OP = NODES.values >= FIXED_NAMES

INNER_EDGES = RaggedArray.from_rows(
    [[(source, i) for i, node in enumerate(block) for source in node.reads if source >= 0] for block in _BLOCKS], (2,)
)
"""(source, target) positions of the edges within each block."""
ENTRIES = RaggedArray.from_rows([[i for i, node in enumerate(block) if -1 in node.reads] for block in _BLOCKS])
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
"""Symbols of the dimensions of shapes; `deepnets.symbolic.shapes` computes their values."""
SYMBOL_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}


def _shape_table() -> NDArray[np.int64]:
    """Return the symbols of the shape of every kind of node.

    Returns:
        (names for edge 0, operations + 1, 3 input states, 4) symbols. The second index is the operation for nodes on
        an edge of a cell, else the last one; the third is the state that the edge reads: 0, 1, or 2 for any later one.
    """
    table = np.zeros((FIXED_NAMES + NAMES_PER_OP, len(OPERATIONS) + 1, 3, 4), np.int64)
    operation_of = {int(block): op for op, blocks in enumerate(OPERATION) for block in blocks.flat}
    for index, block in enumerate(_BLOCKS):
        for node in block:
            op = operation_of[index] if "{op}" in node.name else len(OPERATIONS)
            symbols = [[SYMBOL_INDEX[d.replace("src", f"src{state}")] for d in node.shape] for state in range(3)]
            earlier = table[_NAME_INDEX[node.name], op]
            assert not earlier.any() or (earlier == symbols).all(), node.name
            table[_NAME_INDEX[node.name], op] = symbols
    return table


SHAPE_SYMBOLS = _shape_table()
EDGE_OF_NAME = np.array([-1] * FIXED_NAMES + [i // NAMES_PER_OP for i in range(len(NAMES) - FIXED_NAMES)])
"""The edge of the cell that a name belongs to, -1 for none."""
TEMPLATE_OF_NAME = np.array(
    [n if n < FIXED_NAMES else FIXED_NAMES + (n - FIXED_NAMES) % NAMES_PER_OP for n in range(len(NAMES))]
)
"""For each name the same name on edge 0, which is the first index of `SHAPE_SYMBOLS`."""
