"""The recorder: runs a network on meta tensors and writes what it does to a tape.

Why at the level of dispatched operations (ATen): whatever a model calls, modules, functionals, methods, einsum or fused
attention, arrives here as one of a few operations with fixed signatures, in the order of execution, with the parameters
as arguments, also those that no module call shows (layer scale, tokens, weights that are standardized first). Modules
alone miss these; symbolic tracing and export stop at Python control flow; the autograd graph, which the reference code
reads, changes with every release of PyTorch and needs real numbers.

Activations and parameters are meta tensors, so nothing is computed or allocated. Tensors that depend on neither stay
real, so that a model may ask for their values.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from deepnets.tracing.errors import TraceError
from deepnets.tracing.rules import arithmetic, layers  # noqa: F401 (registers their rules)
from deepnets.tracing.rules.registry import record
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Value
from deepnets.utils.errors import one_line

_READ_VALUES = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2")
"""Operations that read the values of a tensor."""

_READ_SHAPES = (
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
)
"""Operations that read only the shape of a tensor: their result is a constant."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """A mode in which operations are recorded.

    Args:
        tape: what is recorded; it knows the parameters.
    """

    def __init__(self, tape: Tape) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.tape = tape

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in _leaves(args, kwargs) if isinstance(leaf, Tensor)]
        values = [value for t in tensors if (value := self.tape.value(t)) is not None]
        name = func.overloadpacket.__name__
        if not values and not any(t.is_meta for t in tensors):
            return _run_on_constants(name, func, args, kwargs)
        if torch.is_inference_mode_enabled() and func._can_decompose():  # outside of it, this happens before dispatch
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if name in _READ_VALUES:
            what = "activations" if any(isinstance(value, Activation) for value in values) else "parameters"
            raise TraceError(f"the model's control flow depends on the values of {what} ({name})")
        out = _run_on_meta(func, args, kwargs, tensors)
        if values and name not in _READ_SHAPES:
            self._set_values(record(self.tape, name, func, args, kwargs, values), name, args, out)
        return out

    def _set_values(self, value: Value, name: str, args: Sequence[Any], out: Any) -> None:
        """Give the results their value; a constant that was written into stays a real tensor, but has a value now."""
        if name.endswith("_") and isinstance(args[0], Tensor):
            self.tape.set_value(args[0], value)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.tape.set_value(tensor, value)


def _run_on_constants(name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on real tensors.

    A model makes constants on the device of its activations, meta, but may read their values: they are made on the CPU.
    Zeros that it writes into, or starts a recurrence with, stay where it wants them: this must happen on one device.
    """
    if kwargs.get("device") is not None and not _makes_zeros(name, args):
        kwargs["device"] = torch.device("cpu")
    return func(*args, **kwargs)


def _run_on_meta(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: Sequence[Tensor]) -> Any:
    if not all(t.is_meta for t in tensors):
        args, kwargs = tree_map_only(Tensor, _to_meta, (args, kwargs))
    if kwargs.get("device") is not None:  # the model makes a constant
        kwargs = {**kwargs, "device": torch.device("meta")}
    try:
        return func(*args, **kwargs)
    except NotImplementedError as error:
        raise TraceError(f"the operation {func} does not work without numbers ({one_line(error)})") from None


def _leaves(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Flatten arguments; most calls have no nested ones, and a tree would cost more than the operation."""
    if kwargs or any(isinstance(a, list | tuple | dict) for a in args):
        return tree_leaves((args, kwargs))
    return list(args)


def _makes_zeros(name: str, args: tuple[Any, ...]) -> bool:
    """Return whether an operation on constants makes zeros or copies them."""
    return name in ("zeros", "empty", "empty_strided") or (name == "_to_copy" and not args[0].any())


def _to_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else tensor.to("meta")
