"""From the tape to the graph and its report."""

import math
from collections.abc import Sequence

import numpy as np

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.graphs.trace_report import TraceReport
from deepnets.tracing.prune import prune
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import TracedNode


def build_graph(tape: Tape, outputs: Sequence[int]) -> ArchGraph:
    """Return the graph of what was recorded.

    Args:
        tape: all that was recorded.
        outputs: the nodes that make the outputs of the model.
    """
    nodes, unreached = prune(tape.nodes, outputs)
    edges = sorted({(target, source) for target, node in enumerate(nodes) for source in node.reads})
    return ArchGraph(
        op=np.array([PRIMITIVE_INDEX[node.primitive] for node in nodes], np.uint8),
        cell=np.zeros(len(nodes), np.uint8),
        name=np.array([node.name for node in nodes]),
        shape=np.array([_node_shape(node) for node in nodes], np.int32),
        edge_index=np.array(edges, np.int32).reshape(-1, 2).T[::-1],
        report=_build_report(tape, {node.name for node in nodes}, unreached),
    )


def _node_shape(node: TracedNode) -> tuple[int, ...]:
    """Return (out, in, height, width).

    A 1-D kernel has width 1, and a 3-D kernel loses its depth, along which a GHN repeats what it predicts. A table of T
    positional encodings counts as a square map of floor(sqrt T), one in 3-D as a map with all its rows.
    """
    shape = node.shape
    if not shape:
        return (0, 0, 0, 0)
    if node.primitive in ("bias", "bn", "ln") and sum(size > 1 for size in shape) <= 1:
        return (max(shape), 1, 1, 1)  # (1, C, 1, 1) and the like
    if node.primitive == "pos_enc" and len(shape) in (2, 3):
        side = int(shape[-2] ** 0.5)
        return (1, shape[-1], side, side)
    if node.primitive == "pos_enc" and len(shape) > 4:
        return (*shape[:2], math.prod(shape[2:-1]), shape[-1])
    return (*shape[:2], *shape[2:][-2:], 1, 1, 1)[:4]


def _build_report(tape: Tape, named: set[str], unreached: set[str]) -> TraceReport:
    """Say why parameters have no node.

    Args:
        tape: all that was recorded.
        named: names of the nodes of the graph.
        unreached: names of nodes that do not reach the output.
    """
    unnamed = {}
    for name in tape.parameter_shapes:
        reason = tape.used.get(name, "not used when the model is called")
        owner = tape.absorbed.get(name, name)
        if owner in unreached and not {name, owner} & named:
            reason = "does not reach the output"
        if reason:
            unnamed[name] = reason
    absorbed = {name: owner for name, owner in tape.absorbed.items() if name not in named and owner in named}
    return TraceReport(
        unnamed,
        absorbed,
        dict(tape.left_out),
        tuple(dict.fromkeys(tape.notes)),
        tables=tuple(name for name in dict.fromkeys(tape.tables) if name in named),
        constant_weights=tuple(dict.fromkeys(tape.constant_weights)),
    )
