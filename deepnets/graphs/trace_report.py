"""What a traced graph leaves out of its model."""

from dataclasses import dataclass


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
