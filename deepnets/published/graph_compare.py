"""Comparison of recorded graphs of published files with the graphs built from their architectures."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX, PRIMITIVES
from deepnets.utils.errors import FileError, InputError, unknown_choice

Ints = NDArray[np.int64]

_JOINS = tuple(PRIMITIVE_INDEX[name] for name in ("sum", "concat", "cse"))
_UNNAMED = tuple(
    PRIMITIVE_INDEX[name] for name in ("input", "sum", "concat", "msa", "cse", "glob_avg", "max_pool", "avg_pool")
)


_LONGEST_NAME = 200

Outcome = Literal["equal", "repaired", "misaligned", "different"]
"""Result of a comparison with a recorded graph, see `ImportReport`."""


@dataclass(frozen=True, eq=False)
class LabelledGraph:
    """A graph in the form of the published files.

    Shapes:
        op: (N,) primitive of each node.
        names: (N,) parameter of each node, empty for nodes without one.
        cell: (N,) cell of each node.
        edges: (2, E) sources and targets.
    """

    op: Ints
    names: NDArray[np.str_]
    cell: Ints
    edges: Ints

    @classmethod
    def from_graph(cls, graph: ArchGraph) -> "LabelledGraph":
        """Label the nodes of a graph of this toolkit."""
        names = np.where(np.isin(graph.op, _UNNAMED), "", graph.name)
        return cls(graph.op.astype(np.int64), names, graph.cell.astype(np.int64), graph.edge_index.astype(np.int64))

    def labels(self) -> NDArray[np.uint64]:
        """Return (N,) hashes of primitive and name; nodes without parameters have only their primitive."""
        texts = [f"{op} {name}" for op, name in zip(self.op.tolist(), self.names.tolist(), strict=True)]
        return np.array([int.from_bytes(hashlib.blake2b(t.encode(), digest_size=8).digest()) for t in texts], np.uint64)

    def fingerprint(self, labels: NDArray[np.uint64], rounds: int = 12) -> NDArray[np.uint64]:
        """Return (N,) sorted numbers that equal graphs share (Weisfeiler-Lehman hashes of the nodes).

        Args:
            labels: (N,) number of each node.
            rounds: how often each number is mixed with those of the neighbors.
        """
        source, target = self.edges
        with np.errstate(over="ignore"):
            for _ in range(rounds):
                from_sources, from_targets = np.zeros_like(labels), np.zeros_like(labels)
                np.add.at(from_sources, target, _mix(labels[source]))
                np.add.at(from_targets, source, _mix(labels[target] + np.uint64(0x9E3779B97F4A7C15)))
                labels = _mix(labels + _mix(from_sources) * np.uint64(3) + from_targets)
        return np.sort(labels)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble the bits of each number: the finalizer of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _are_equal(a: LabelledGraph, b: LabelledGraph) -> bool:
    if a.edges.shape != b.edges.shape or len(a.op) != len(b.op):
        return False
    return bool((a.fingerprint(a.labels()) == b.fingerprint(b.labels())).all())


def compare_graphs(recorded: LabelledGraph, symbolic: LabelledGraph) -> Outcome:
    """Compare a recorded graph with the one built from its architecture, and return the outcome."""
    if _are_equal(recorded, symbolic):
        return "equal"
    if _are_equal(_repair(recorded), symbolic):
        return "repaired"
    if len(recorded.op) != len(symbolic.op) or recorded.edges.shape != symbolic.edges.shape:
        return "different"
    same_nodes = (np.sort(recorded.labels()) == np.sort(symbolic.labels())).all()
    blank = np.zeros(len(recorded.op), np.uint64)
    same_edges = (recorded.fingerprint(blank) == symbolic.fingerprint(blank)).all()
    return "misaligned" if same_nodes and same_edges else "different"


def _repair(graph: LabelledGraph) -> LabelledGraph:
    """Return the graph without the two known defects: a misplaced edge of the stem, and double incoming edges."""
    source, target = graph.edges.copy()
    stems = [np.flatnonzero(np.char.startswith(graph.names, f"stem{part}.")) for part in (0, 1)]
    if all(len(stem) for stem in stems):
        moved = (source == stems[0].max()) & (graph.cell[target] == 1)
        source[moved] = stems[1].max()
    order = np.lexsort((source, target))
    source, target = source[order], target[order]
    first = np.concatenate([[True], target[1:] != target[:-1]])
    keep = first | np.isin(graph.op[target], _JOINS)
    return LabelledGraph(graph.op, graph.names, graph.cell, np.stack([source[keep], target[keep]]))


def describe_difference(recorded: LabelledGraph, symbolic: LabelledGraph) -> str:
    """Return in words what differs between two graphs."""
    if len(recorded.op) != len(symbolic.op):
        return f"{len(recorded.op)} nodes are recorded, the architecture has {len(symbolic.op)}"
    if recorded.edges.shape != symbolic.edges.shape:
        return f"{recorded.edges.shape[1]} edges are recorded, the architecture has {symbolic.edges.shape[1]}"
    if (np.sort(recorded.labels()) != np.sort(symbolic.labels())).any():
        other = set(recorded.names) ^ set(symbolic.names)
        return f"other nodes are recorded, such as {min(other) if other else 'another primitive'}"
    return "the same nodes are connected in another way"


@dataclass(frozen=True)
class Vocabulary:
    """Primitives and parameter names of a published split by number, in the spelling of this toolkit."""

    primitives: dict[int, int]
    names: dict[int, str]

    @classmethod
    def from_metadata(cls, meta: Any) -> "Vocabulary":
        """Read the entry `meta` of a split.

        Raises:
            InputError: it is not a vocabulary, or names an unknown primitive.
        """
        primitives, names = (_texts_by_number(meta, member) for member in ("primitives_ext", "unique_op_names"))
        return cls(
            {number: _primitive(name) for number, name in primitives.items()},
            {number: _name(name) for number, name in names.items()},
        )

    def read_graph(self, group: h5py.Group, index: int, most_nodes: int) -> LabelledGraph:
        """Read the recorded graph of one network.

        Args:
            group: graphs of a split.
            index: index of the network.
            most_nodes: larger graphs are refused before they are read.

        Raises:
            InputError: its matrices do not fit together, are too large, or have unknown numbers.
            KeyError, OSError: it is damaged.
        """
        graph = read_member(group, str(index), h5py.Group)
        adjacency, nodes = (read_member(graph, name, h5py.Dataset) for name in ("adj", "nodes"))
        count = nodes.shape[0] if nodes.shape else 0
        if nodes.shape != (count, 3) or adjacency.shape != (count, count) or count < 1:
            raise InputError(f"adj is {adjacency.shape}, nodes {nodes.shape}")
        if count > most_nodes:
            raise InputError(f"it has {count} nodes, which cannot be")
        if nodes.dtype.kind not in "iu" or adjacency.dtype.kind not in "iuf":
            raise InputError(f"adj has values of type {adjacency.dtype}, nodes of type {nodes.dtype}")
        return self._labelled(adjacency[()], nodes[()].astype(np.int64))

    def _labelled(self, adjacency: NDArray[Any], nodes: Ints) -> LabelledGraph:
        for numbers, known in ((nodes[:, 0], self.primitives), (nodes[:, 2], self.names)):
            if unknown := set(numbers.tolist()).difference(known):
                raise InputError(f"the vocabulary lacks {min(unknown)}")
        op = np.array([self.primitives[p] for p in nodes[:, 0].tolist()])
        names = [
            "" if o in _UNNAMED else self.names[n] if _GLOBAL.match(self.names[n]) else f"cells.{c}.{self.names[n]}"
            for o, c, n in zip(op.tolist(), nodes[:, 1].tolist(), nodes[:, 2].tolist(), strict=True)
        ]
        return LabelledGraph(op, np.array(names), nodes[:, 1], np.stack(np.nonzero(adjacency == 1)))


def read_member(group: h5py.Group, name: str, kind: type) -> Any:
    """Return a member of a group of a foreign file.

    Raises:
        InputError: there is none, it is of another kind, or it lies in another file.
        KeyError, OSError: the file is damaged.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise InputError(f"{group.name} lacks {name}")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{name} is a link")
    member = group[name]
    if not isinstance(member, kind):
        raise InputError(f"{name} is not a {kind.__name__.lower()}")
    if isinstance(member, h5py.Dataset) and (member.is_virtual or member.external):
        raise InputError(f"{name} is a part of another file")
    return member


def _texts_by_number(meta: Any, member: str) -> dict[int, str]:
    """Return the texts of a vocabulary by number.

    Raises:
        InputError: it is not an object of short texts.
    """
    texts = meta.get(member) if isinstance(meta, dict) else None
    if not isinstance(texts, dict):
        raise InputError(f"{member} is not an object of texts by number")
    if not all(isinstance(text, str) and len(text) <= _LONGEST_NAME for text in texts.values()):
        raise InputError(f"{member} has a value that is not a text of at most {_LONGEST_NAME} characters")
    if not all(re.fullmatch("[0-9]{1,9}", number) for number in texts):
        raise InputError(f"{member} has a name that is not a number")
    return {int(number): text for number, text in texts.items()}


_GLOBAL = re.compile(r"(stem|pos_enc|classifier)")


def _primitive(name: str) -> int:
    """Return the index of a published primitive, whose name has a kernel size: conv_1x1, sep_conv_3x3."""
    plain = {"fc-b": "bias"}.get(name, re.sub(r"(_\d+x\d+)+$", "", name))
    if plain not in PRIMITIVE_INDEX:
        raise FileError("in the metadata " + unknown_choice("primitive", name, PRIMITIVES))
    return PRIMITIVE_INDEX[plain]


def _name(name: str) -> str:
    """Return a published parameter name in one spelling; published files have several."""
    name = f"{name}weight" if name.endswith("to_out.0.") else name
    return re.sub(r"^_ops\.(\d+)\.(\d+)\.", r"_ops.\1.op.\2.", name)
