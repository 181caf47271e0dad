"""The tape: what has been recorded so far while a model runs."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from deepnets.tracing.values import Activation, Parametric, TensorRole, TracedNode, Value


class Tape:
    """Nodes, and the values of tensors.

    A value belongs to a storage: views share it, and writing in place changes it for all views.

    Args:
        parameters: the tensors that stand for the parameters, by name.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self.nodes: list[TracedNode] = []
        self.tables: list[str] = []  # weights of embeddings
        self.constant_weights: list[str] = []  # layers whose weights are not parameters
        self.parameter_shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        self.used: dict[str, str] = {}  # parameter -> why it has no node; empty if it has one
        self.absorbed: dict[str, str] = {}  # parameter -> the parameter whose node it belongs to
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self.ignores_indices = False  # whether integers of the input count as constants
        self._values: dict[int, Value] = {}
        self._zeros: set[int] = set()  # storages of constants that are known to be zero
        self._alive: list[Any] = []  # a storage keeps its address as long as something refers to it
        for name, parameter in parameters.items():
            self.set_value(parameter, Parametric((name,)))

    def value(self, tensor: Any) -> Value | None:
        """Return what is known about a tensor; None for constants and for everything that is not a tensor."""
        if not isinstance(tensor, Tensor):
            return None
        if tensor.layout is not torch.strided:
            return None
        value = self._values.get(tensor.untyped_storage()._cdata)
        if self.ignores_indices and isinstance(value, Activation) and value.role is TensorRole.INDEX:
            return None
        return value

    def set_value(self, tensor: Tensor, value: Value) -> None:
        """Set the value of a tensor and of all its views."""
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._values:
            self._alive.append(storage)
        self._values[storage._cdata] = value

    def is_zero(self, tensor: Any) -> bool:
        """Return whether a tensor is a constant that is zero."""
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or self.value(tensor) is not None:
            return False
        return tensor.untyped_storage()._cdata in self._zeros or not (tensor.is_meta or tensor.any())

    def note_zero(self, tensor: Tensor, is_zero: bool) -> None:
        """Note whether a constant is zero; of real tensors it can be seen."""
        if tensor.layout is torch.strided and (storage := tensor.untyped_storage())._cdata not in self._values:
            if not is_zero:
                self._zeros.discard(storage._cdata)
            elif tensor.is_meta and storage._cdata not in self._zeros:
                self._alive.append(storage)
                self._zeros.add(storage._cdata)

    def add_node(
        self, primitive: str, reads: Sequence[Activation], name: str = "", shape: tuple[int, ...] = ()
    ) -> Activation:
        """Add a node and return its activation; products that it reads become nodes first."""
        producers = [self.resolve(activation).producers[0] for activation in reads]
        self.nodes.append(TracedNode(primitive, name or primitive, shape, producers))
        return Activation((len(self.nodes) - 1,))

    def add_parameter_node(
        self,
        primitive: str,
        reads: Sequence[Activation],
        parametric: Parametric,
        shape: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple,
    ) -> Activation:
        """Add the node of a parameter: of the largest one if the tensor is made of several; it absorbs the others.

        Args:
            primitive: primitive of the node.
            reads: activations that it reads.
            parametric: the parameters that the tensor is made of.
            shape: from the shape of the parameter to (out, in, ...) of the node.
        """
        name = self.main_parameter(parametric)
        self.absorb([other for other in parametric.names if other != name], name)
        if self.used.get(name) == "":
            self.notes.append(f"{name} is used several times and has a node for each use")
        self.used[name] = ""
        return self.add_node(primitive, reads, name, shape(self.parameter_shapes[name]))

    def is_number(self, parametric: Parametric) -> bool:
        """Return whether a tensor is made of parameters without dimensions alone."""
        return not any(self.parameter_shapes[name] for name in parametric.names)

    def main_parameter(self, parametric: Parametric) -> str:
        """Return the largest parameter that a tensor is made of."""
        return max(parametric.names, key=self.size)

    def add_attention(self, producers: tuple[int, ...]) -> Activation:
        """Add an attention node; it reads each producer of queries, keys and values once."""
        self.nodes.append(TracedNode("msa", "msa", (), list(producers)))
        return Activation((len(self.nodes) - 1,))

    def resolve(self, activation: Activation) -> Activation:
        """Return an activation with one producer: a product that is used as it is becomes an attention node."""
        if len(activation.producers) == 1:
            return activation
        if activation.role is TensorRole.INDEX:
            return Activation(activation.producers[:1], activation.role)
        self.notes.append("a product of activations outside of attention is drawn as msa")
        return self.add_attention(activation.producers)

    def size(self, name: str) -> int:
        """Return the number of elements of a parameter."""
        return torch.Size(self.parameter_shapes[name]).numel()

    def absorb(self, names: Iterable[str], owner: str) -> None:
        """Note that parameters belong to the node of another parameter."""
        for name in names:
            self.absorbed[name] = owner
            self.used[name] = ""

    def leave_out(self, parametric: Parametric, reason: str) -> None:
        """Note why this use of parameters makes no node; another use may make one."""
        for name in parametric.names:
            self.used.setdefault(name, reason)
