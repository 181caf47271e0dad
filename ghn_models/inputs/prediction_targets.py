"""Prediction targets: the parameters that the nodes of a graph stand for, and how each of them is predicted."""

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


class ParameterKind(Enum):
    """Kinds of parameters, which are predicted in different ways."""

    WEIGHT = auto()
    POSITION = auto()  # positional encodings: a weight that is not normalized
    NORM = auto()  # weight and bias of a norm layer
    BIAS = auto()
    CLASSIFIER_WEIGHT = auto()
    CLASSIFIER_BIAS = auto()


@dataclass(frozen=True)
class PredictionTarget:
    """A parameter to predict; for a norm layer its weight and its bias.

    Args:
        node: its node in the graph.
        kind: how it is predicted.
        names: name of the parameter; for a norm layer the names of weight and bias, None for a missing bias.
        shape: ones for missing dimensions.
    """

    node: int
    kind: ParameterKind
    names: tuple[str, str | None]
    shape: Shape


def find_targets(graph: ArchGraph) -> Iterator[PredictionTarget]:
    """Yield the parameters that a graph has nodes for; one with several nodes is predicted from the first."""
    classifier = classifier_nodes(graph)
    norm_bias = _norm_bias_lookup(graph)
    seen = set()
    columns = zip(graph.op.tolist(), graph.name.tolist(), graph.shape.tolist(), strict=True)
    for node, (op, name, shape) in enumerate(columns):
        kind = _parameter_kind(op, node, classifier)
        if kind is not None and name not in seen:
            seen.add(name)
            bias = norm_bias(name) if kind is ParameterKind.NORM else None
            yield PredictionTarget(node, kind, (name, bias), tuple(shape))


def _parameter_kind(op: int, node: int, classifier: tuple[int | None, int | None]) -> ParameterKind | None:
    weight, bias = classifier
    if op in _WEIGHTS:
        return ParameterKind.CLASSIFIER_WEIGHT if node == weight else ParameterKind.WEIGHT
    if op in _NORMS:
        return ParameterKind.NORM
    if op == _BIAS:
        return ParameterKind.CLASSIFIER_BIAS if node == bias else ParameterKind.BIAS
    return ParameterKind.POSITION if op == _POSITION else None


def classifier_nodes(graph: ArchGraph) -> tuple[int | None, int | None]:
    """Return the nodes of weight and bias of the last linear layer, None if the network ends with something else."""
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


def _norm_bias_lookup(graph: ArchGraph) -> Callable[[str], str | None]:
    """Return a function from the weight of a norm layer to its bias; in the design space each has one."""
    if graph.report is None:
        return lambda name: name.removesuffix("weight") + "bias"
    return {owner: name for name, owner in graph.report.absorbed.items()}.get
