"""Pruning: recorded nodes that are superfluous, or reach no output, are not nodes of the graph."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from deepnets.tracing.values import TracedNode


class _Bypasses:
    """Nodes taken out of the graph; whoever read them reads what they read.

    Args:
        nodes: all recorded nodes.
    """

    def __init__(self, nodes: Sequence[TracedNode]) -> None:
        self.nodes = nodes
        self.reads = [list(node.reads) for node in nodes]
        self.next: dict[int, int] = {}  # a node that was taken out -> the node that stands for it

    def end(self, number: int) -> int:
        """Return the remaining node that stands for a node."""
        while number in self.next:
            number = self.next[number]
        return number

    def bypass_trivial(self, primitive: str) -> None:
        """Take out nodes that join fewer than two distinct producers, counted before any of them is taken out."""
        producers = {
            number: {self.end(read) for read in self.reads[number]}
            for number, node in enumerate(self.nodes)
            if node.primitive == primitive
        }
        for number, distinct in producers.items():
            if len(distinct) < 2:
                self.next[number] = self.reads[number][0]

    def bypass_squeezes(self) -> None:
        """Take out the global pooling of squeeze and excite, which is part of its `cse` node."""
        for number in list(_squeezes(self.nodes, self.reads)):
            self.next[number] = self.reads[number][0]

    def remaining_reads(self) -> list[list[int]]:
        """Return what each node reads, without what was taken out and without repetitions."""
        return [list(dict.fromkeys(map(self.end, reads))) for reads in self.reads]


def prune(nodes: Sequence[TracedNode], outputs: Sequence[int]) -> tuple[list[TracedNode], set[str]]:
    """Remove superfluous nodes and those that reach no output.

    The order of the passes is part of the rule: whether a sum is trivial is counted while all concatenations and
    products are still nodes, then concatenations, then products; then the pooling of squeeze and excite goes.

    Args:
        nodes: the recorded nodes, in the order of execution.
        outputs: numbers of the nodes that make the outputs.

    Returns:
        The remaining nodes, renumbered, and the names of the nodes that reach no output.
    """
    bypasses = _Bypasses(nodes)
    for primitive in ("sum", "concat", "cse"):
        bypasses.bypass_trivial(primitive)
    bypasses.bypass_squeezes()
    reads = bypasses.remaining_reads()
    alive = _ancestors(reads, map(bypasses.end, outputs))
    kept = [number for number in range(len(nodes)) if number in alive and number not in bypasses.next]
    position = {number: i for i, number in enumerate(kept)}
    unreached = {node.name for number, node in enumerate(nodes) if number not in alive and number not in bypasses.next}
    return [replace(nodes[n], reads=[position[read] for read in reads[n]]) for n in kept], unreached


def _ancestors(reads: Sequence[Sequence[int]], outputs: Iterable[int]) -> set[int]:
    """Return the outputs and all nodes that they depend on; nodes read earlier nodes only."""
    alive = set(outputs)
    for number in range(len(reads) - 1, -1, -1):
        if number in alive:
            alive.update(reads[number])
    return alive


def _squeezes(nodes: Sequence[TracedNode], reads: Sequence[Sequence[int]]) -> Iterable[int]:
    """Yield the global average pooling on the way from what a `cse` node scales to its scale."""
    for number, node in enumerate(nodes):
        if node.primitive == "cse":
            for gate in reads[number]:
                while len(reads[gate]) == 1:
                    if nodes[gate].primitive == "glob_avg":
                        yield gate
                        break
                    gate = reads[gate][0]
                    if gate in reads[number]:
                        break
