"""Reports of tracing: the parts of a model that its graph leaves out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TraceReport:
    """The parts of a model that its traced graph leaves out.

    Args:
        unnamed: parameters without a node, by name, with the reason.
        absorbed: parameters that belong to the node of another parameter, by name, with that parameter: the bias of a
            norm layer belongs to its weight.
        left_out: operations that do not become nodes (nonlinearities, views, arithmetic), with their counts.
        notes: operations that became the node of the closest primitive, and parameters that have several nodes.
        tables: names of the nodes that are weights of embeddings.
        constant_weights: layers whose weights are not parameters, and so have no node.
    """

    unnamed: dict[str, str]
    absorbed: dict[str, str]
    left_out: dict[str, int]
    notes: tuple[str, ...]
    tables: tuple[str, ...] = ()
    constant_weights: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every parameter has a node or belongs to one, and every layer has parameters."""
        return not self.unnamed and not self.constant_weights
