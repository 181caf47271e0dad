"""Which parameters the nodes of a graph stand for, and how each of them is predicted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX

_WEIGHTS = frozenset(PRIMITIVE_INDEX[name] for name in ("conv", "sep_conv", "dil_conv"))
_NORMS = frozenset(PRIMITIVE_INDEX[name] for name in ("bn", "ln"))
_BIAS, _POSITION = PRIMITIVE_INDEX["bias"], PRIMITIVE_INDEX["pos_enc"]
_AFTER_CLASSIFIER = frozenset((_BIAS, PRIMITIVE_INDEX["glob_avg"]))


Shape = tuple[int, int, int, int]
"""(out, in, height, width) of a parameter."""


class Kind(Enum):
    """How a parameter is predicted."""

    WEIGHT = auto()
    POSITION = auto()  # a weight that is not normalized
    NORM = auto()  # weight and bias of a norm layer
    BIAS = auto()
    CLASSIFIER_WEIGHT = auto()
    CLASSIFIER_BIAS = auto()


@dataclass(frozen=True)
class Target:
    """A parameter to predict.

    Args:
        node: its node in the graph.
        names: of the parameter; of weight and bias, the latter None if there is none, for norm layers.
        shape: ones for missing dimensions.
    """

    node: int
    kind: Kind
    names: tuple[str, str | None]
    shape: Shape


def targets(graph: ArchGraph) -> Iterator[Target]:
    """The parameters that a graph has nodes for; one with several nodes is predicted from the first."""
    weight, bias = classifier(graph)
    biases = _norm_biases(graph)
    seen = set()
    columns = zip(graph.op.tolist(), graph.name.tolist(), graph.shape.tolist(), strict=True)
    for node, (op, name, shape) in enumerate(columns):
        if op in _WEIGHTS:
            kind = Kind.CLASSIFIER_WEIGHT if node == weight else Kind.WEIGHT
        elif op in _NORMS:
            kind = Kind.NORM
        elif op == _BIAS:
            kind = Kind.CLASSIFIER_BIAS if node == bias else Kind.BIAS
        elif op == _POSITION:
            kind = Kind.POSITION
        else:
            continue
        if name not in seen:
            seen.add(name)
            second = biases(name) if kind is Kind.NORM else None
            yield Target(node, kind, (name, second), tuple(shape))


def classifier(graph: ArchGraph) -> tuple[int | None, int | None]:
    """Nodes of the weight and the bias of the last linear layer, None if the network ends with something else."""
    weight = bias = None
    for node in reversed(range(len(graph))):
        op = int(graph.op[node])
        if op == _BIAS and bias is None:
            bias = node
        elif op in _WEIGHTS:
            weight = node
            break
        elif op not in _AFTER_CLASSIFIER:
            break
    if weight is None or (graph.shape[weight, 2:] != 1).any():
        return None, None
    return weight, bias


def _norm_biases(graph: ArchGraph) -> Callable[[str], str | None]:
    """Name of the bias of a norm layer by that of its weight; networks of the design space have one for each."""
    if graph.report is None:
        return lambda name: name.removesuffix("weight") + "bias"
    return {owner: name for name, owner in graph.report.absorbed.items()}.get
