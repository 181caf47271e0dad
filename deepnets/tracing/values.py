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


@dataclass(frozen=True)
class TraceReport:
    """What a traced graph leaves out.

    Args:
        unnamed: why a parameter has no node, by name.
        absorbed: parameters that belong to the node of another one, such as the bias of a norm layer; whose, by name.
        left_out: how often operations that become no nodes were seen: nonlinearities, views, arithmetic.
        notes: operations that were drawn as the closest primitive, and parameters that have several nodes.
    """

    unnamed: dict[str, str]
    absorbed: dict[str, str]
    left_out: dict[str, int]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every parameter has a node or belongs to one."""
        return not self.unnamed
