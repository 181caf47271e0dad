"""What the tracer knows of a tensor: constant, made from parameters, or an activation made by nodes of the graph."""

from dataclasses import dataclass, field
from enum import Enum, auto


class Kind(Enum):
    """What an activation is used for, as far as this decides which node it becomes."""

    PLAIN = auto()
    PRODUCT = auto()  # of two activations, such as attention scores
    WEIGHTS = auto()  # of a softmax; what they are multiplied with is attended to
    CENTRED = auto()  # minus a mean
    STATISTIC = auto()  # a standard deviation or its inverse, by which activations are normalized
    NORMALIZED = auto()  # divided by its standard deviation, but not scaled yet
    SCALED = auto()  # scaled after normalization, but not shifted yet


@dataclass(frozen=True)
class Activation:
    """A tensor that depends on the input; a product not yet used has several producers, others have one.

    Args:
        producers: nodes that make it.
        kind: what it is used for.
        scale: what it was multiplied with after a mean was taken away, and before it is divided by a deviation.
    """

    producers: tuple[int, ...]
    kind: Kind = Kind.PLAIN
    scale: "Parametric | None" = None


@dataclass(frozen=True)
class Parametric:
    """A tensor made of parameters and constants only, such as a transposed weight.

    Args:
        names: of the parameters.
        computed: it is what layers make of parameters, such as queries that are learnt, rather than a weight.
    """

    names: tuple[str, ...]
    computed: bool = False


Value = Activation | Parametric
"""Tensors without a value are constants."""


@dataclass
class TracedNode:
    """A node while tracing; `reads` are earlier nodes."""

    primitive: str
    name: str
    shape: tuple[int, ...]
    reads: list[int] = field(default_factory=list)
