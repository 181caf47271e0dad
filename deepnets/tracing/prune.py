"""From everything that was recorded to the graph: what is superfluous, or reaches no output, is no node."""

from collections.abc import Sequence
from dataclasses import replace

from deepnets.tracing.values import TracedNode


def prune(nodes: Sequence[TracedNode], outputs: Sequence[int]) -> tuple[list[TracedNode], set[str]]:
    """The nodes of the graph, renumbered, and the names of those that reach no output.

    A sum of fewer than two distinct producers is no node, counted while all sums and concatenations are nodes; then
    the same holds for concatenations, and for products. The pooling of squeeze and excite is part of its `cse` node.
    """
    reads = [list(node.reads) for node in nodes]
    through: dict[int, int] = {}
    _bypass(nodes, reads, through, ("sum",))
    _bypass(nodes, reads, through, ("concat",))
    _bypass(nodes, reads, through, ("cse",))
    for number in _squeezes(nodes, reads):
        through[number] = reads[number][0]
    reads = [list(dict.fromkeys(_end(through, r) for r in row)) for row in reads]
    alive = [False] * len(nodes)
    for output in outputs:
        alive[_end(through, output)] = True
    for number in range(len(nodes) - 1, -1, -1):
        if alive[number]:
            for read in reads[number]:
                alive[read] = True
    kept = [number for number in range(len(nodes)) if alive[number] and number not in through]
    place = {number: position for position, number in enumerate(kept)}
    lost = {node.name for number, node in enumerate(nodes) if not alive[number] and number not in through}
    return [replace(nodes[n], reads=[place[read] for read in reads[n]]) for n in kept], lost


def _end(through: dict[int, int], number: int) -> int:
    while number in through:
        number = through[number]
    return number


def _bypass(
    nodes: Sequence[TracedNode], reads: list[list[int]], through: dict[int, int], primitives: tuple[str, ...]
) -> None:
    """Take out nodes that join fewer than two distinct producers, counted before any of them is taken out."""
    producers = {
        number: {_end(through, read) for read in reads[number]}
        for number, node in enumerate(nodes)
        if node.primitive in primitives
    }
    for number, distinct in producers.items():
        if len(distinct) < 2:
            through[number] = reads[number][0]


def _squeezes(nodes: Sequence[TracedNode], reads: list[list[int]]) -> list[int]:
    """Global average pooling on the way from what a `cse` node scales to its scale."""
    found = []
    for number, node in enumerate(nodes):
        if node.primitive == "cse":
            for gate in reads[number]:
                while len(reads[gate]) == 1:
                    if nodes[gate].primitive == "glob_avg":
                        found.append(gate)
                        break
                    gate = reads[gate][0]
                    if gate in reads[number]:
                        break
    return found
