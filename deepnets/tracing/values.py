"""Values: a tensor is made of parameters, an activation made by nodes of the graph, or a constant."""

from dataclasses import dataclass, field
from enum import Enum, auto


class TensorRole(Enum):
    """The part that an activation plays in attention or normalization; it decides which node comes next."""

    PLAIN = auto()
    INDEX = auto()  # integers of the input, such as tokens and masks, and what is made of them alone
    PRODUCT = auto()  # of two activations, such as attention scores
    WEIGHTS = auto()  # of a softmax; the next factor is attended to
    CENTERED = auto()  # minus its mean
    STATISTIC = auto()  # a standard deviation or its inverse, used to normalize
    NORMALIZED = auto()  # divided by its standard deviation, but not scaled yet
    SCALED = auto()  # scaled after normalization, but not shifted yet


@dataclass(frozen=True)
class Activation:
    """A tensor that depends on the input.

    Args:
        producers: the nodes that make it: one, or several for a product that no node has used yet.
        role: its part in attention or normalization.
        scale: a parameter that a centered activation was multiplied with before its division by the deviation.
    """

    producers: tuple[int, ...]
    role: TensorRole = TensorRole.PLAIN
    scale: "Parametric | None" = None


@dataclass(frozen=True)
class Parametric:
    """A tensor made of parameters and constants alone, such as a transposed weight.

    Args:
        names: the parameters.
        computed: whether layers made it of parameters (such as learnt queries), so that it is not a weight itself.
    """

    names: tuple[str, ...]
    computed: bool = False


Value = Activation | Parametric
"""A tensor as the tracer sees it: an activation, or made of parameters. Constants have no value."""


@dataclass
class TracedNode:
    """A node during tracing; `reads` are numbers of earlier nodes."""

    primitive: str
    name: str
    shape: tuple[int, ...]
    reads: list[int] = field(default_factory=list)
