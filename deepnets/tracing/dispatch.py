"""Runs a network on meta tensors and records which nodes its operations become.

Why at the level of dispatched operations (ATen): whatever a model calls, modules, functionals, methods, einsum or fused
attention, arrives here as one of a few operations with fixed signatures, in the order of execution, with the parameters
as arguments, also those that no module call shows (layer scale, tokens, weights that are standardized first). Modules
alone miss these; symbolic tracing and export stop at Python control flow; the autograd graph, which the reference code
reads, changes with every release of PyTorch and needs real numbers.

Activations and parameters are meta tensors, so nothing is computed or allocated. Tensors that depend on neither stay
real, so that a model may ask for their values. A value belongs to a storage: views share it, and writing in place
changes it for all views.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from deepnets.tracing.values import Activation, Parametric, TracedNode, Value
from deepnets.utils.errors import one_line

_VALUES = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2")
"""Operations that ask for the values of a tensor."""

_SHAPES = (
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
)
"""Operations that ask for the shape of a tensor only: what they make is a constant."""


class TraceError(ValueError):
    """A model that cannot be traced; the message is one sentence for the user."""


class Recorder(TorchDispatchMode):
    """Records nodes while a model runs.

    Args:
        parameters: meta tensors that stand for the parameters, by name.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.nodes: list[TracedNode] = []
        self.shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        self.used: dict[str, str] = {}  # parameter -> why it has no node, empty if it has one
        self.absorbed: dict[str, str] = {}  # parameter -> whose node it belongs to
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self._values: dict[int, Value] = {}
        self._alive: list[Any] = []  # storages keep their address while they are referred to
        for name, parameter in parameters.items():
            self.set(parameter, Parametric((name,)))

    def value(self, tensor: Any) -> Value | None:
        """What is known of a tensor; None for constants and for what is no tensor."""
        if not isinstance(tensor, Tensor):
            return None
        return self._values.get(tensor.untyped_storage()._cdata)

    def set(self, tensor: Tensor, value: Value) -> None:
        """Remember what a tensor is, together with all views of it."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._values:
            self._alive.append(storage)
        self._values[storage._cdata] = value

    def node(
        self, primitive: str, reads: Sequence[Activation], name: str = "", shape: tuple[int, ...] = ()
    ) -> Activation:
        """Add a node; the activation it makes. Products that it reads become nodes before."""
        producers = [self.resolved(activation).producers[0] for activation in reads]
        self.nodes.append(TracedNode(primitive, name or primitive, shape, producers))
        return Activation((len(self.nodes) - 1,))

    def parameter_node(self, primitive: str, reads: Sequence[Activation], parametric: Parametric) -> Activation:
        """Add the node of a parameter, the largest if the tensor is made of several; the others belong to it."""
        name = max(parametric.names, key=self.size)
        self.absorb([other for other in parametric.names if other != name], name)
        if self.used.get(name) == "":
            self.notes.append(f"{name} is used several times and has a node for each use")
        self.used[name] = ""
        return self.node(primitive, reads, name, self.shapes[name])

    def size(self, name: str) -> int:
        """Number of elements of a parameter."""
        return torch.Size(self.shapes[name]).numel()

    def absorb(self, names: Iterable[str], owner: str) -> None:
        """Parameters that belong to the node of another parameter."""
        for name in names:
            self.absorbed[name] = owner
            self.used[name] = ""

    def leave_out(self, parametric: Parametric, why: str) -> None:
        """Parameters that become no node here; another use may make one."""
        for name in parametric.names:
            self.used.setdefault(name, why)

    def resolved(self, activation: Activation) -> Activation:
        """A product of activations that is used as it is becomes an attention node."""
        if len(activation.producers) == 1:
            return activation
        self.notes.append("a product of activations outside of attention is drawn as msa")
        return self.attention(activation.producers)

    def attention(self, producers: tuple[int, ...]) -> Activation:
        """Add an attention node; what queries, keys and values come from is read once each."""
        self.nodes.append(TracedNode("msa", "msa", (), list(producers)))
        return Activation((len(self.nodes) - 1,))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        from deepnets.tracing.rules import combine

        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in _leaves(args, kwargs) if isinstance(leaf, Tensor)]
        values = [value for t in tensors if (value := self.value(t)) is not None]
        name = func.overloadpacket.__name__
        if not values and not any(t.is_meta for t in tensors):
            # A model makes constants where its activations are, but may look at their values. Zeros it writes into, or
            # starts a recurrence with, which has to happen on one device.
            if kwargs.get("device") is not None and not _is_state(name, args):
                kwargs["device"] = torch.device("cpu")
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled() and func._can_decompose():  # else this is done before it comes here
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if name in _VALUES:
            what = "activations" if any(isinstance(value, Activation) for value in values) else "parameters"
            raise TraceError(f"the model's control flow depends on the values of {what} ({name})")
        meta_args, meta_kwargs = args, kwargs
        if not all(t.is_meta for t in tensors):
            meta_args, meta_kwargs = tree_map_only(Tensor, _to_meta, (args, kwargs))
        if meta_kwargs.get("device") is not None:  # of a constant
            meta_kwargs = {**meta_kwargs, "device": torch.device("meta")}
        try:
            out = func(*meta_args, **meta_kwargs)
        except NotImplementedError as error:
            raise TraceError(f"the operation {func} does not work without numbers ({one_line(error)})") from None
        if values and name not in _SHAPES:
            value = combine(self, name, func, args, kwargs, values)
            if name.endswith("_") and isinstance(args[0], Tensor):
                self.set(args[0], value)  # a constant that is written into stays a real tensor
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, Tensor):
                    self.set(tensor, value)
        return out


def _leaves(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Arguments, with those in lists; most calls have none, and a tree would cost more than the operation."""
    if kwargs or any(isinstance(a, list | tuple | dict) for a in args):
        return tree_leaves((args, kwargs))
    return list(args)


def _is_state(name: str, args: tuple[Any, ...]) -> bool:
    """Whether an operation on constants makes zeros, or copies them."""
    return name in ("zeros", "empty", "empty_strided") or (name == "_to_copy" and not args[0].any())


def _to_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else tensor.to("meta")
