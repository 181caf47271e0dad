"""The recorder: runs a network and writes what it does to a tape.

Why at the level of dispatched operations (ATen): whatever a model calls, modules, functionals, methods, einsum or fused
attention, arrives here as one of a few operations with fixed signatures, in the order of execution, with the parameters
as arguments, also those that no module call shows (layer scale, tokens, weights that are standardized first). Modules
alone miss these; symbolic tracing and export stop at Python control flow; the autograd graph, which the reference code
reads, changes with every release of PyTorch and needs real numbers.

Activations and parameters are meta tensors, so nothing is computed or allocated. Tensors that depend on neither stay
real, and so does what is made of integer inputs alone, so that a model may ask for their values. Where a model asks for
the values of activations, everything is computed instead, with copies of the parameters (`compute`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from deepnets.tracing.errors import TraceError, model_line
from deepnets.tracing.restore.tensors import RandomNumbers, WriteLog
from deepnets.tracing.rules import arithmetic, layers  # noqa: F401 (registers their rules)
from deepnets.tracing.rules.higher_order import HIGHER_ORDER_RULES
from deepnets.tracing.rules.registry import Rule, makes_zeros, operation_name, record, record_call, user_outputs
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Parametric, TensorRole, Value
from deepnets.utils.errors import one_line

_READ_VALUES = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "item")
"""Operations that read the values of a tensor."""

_READ_SHAPES = (
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
)
"""Operations that read only the shape of a tensor: their result is a constant."""

_STAY_REAL = {"_pack_padded_sequence": (1,)}
"""Arguments whose values an operation needs."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """A mode in which operations are recorded.

    Args:
        tape: record of the call; it knows the parameters.
        compute: run operations on real tensors.
    """

    supports_higher_order_operators = True

    def __init__(self, tape: Tape, compute: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.tape, self.compute = tape, compute
        self.writes, self.random = WriteLog(), RandomNumbers()
        self._within = False  # whether a function runs that was given to an operator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if isinstance(func, HigherOrderOperator):
            return self._run_higher_order(func, args)
        tensors = [leaf for leaf in _leaves(args, kwargs) if isinstance(leaf, Tensor)]
        values = [value for t in tensors if (value := self.tape.value(t)) is not None]
        name = operation_name(func)
        any_meta = any(t.is_meta for t in tensors)
        zeros = makes_zeros(self.tape, name, args, values)
        if not values and not any_meta:
            return self._note_zeros(name, args, self._run_on_constants(name, func, args, kwargs), zeros)
        if (self._within or torch.is_inference_mode_enabled()) and func._can_decompose():  # else done before dispatch
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        is_real = self.compute or not (any_meta or any(isinstance(value, Parametric) for value in values))
        if name in _READ_VALUES:
            self._note_value_query(name, values, is_real)
        out = self._run_real(func, args, kwargs) if is_real else _run_on_meta(name, func, args, kwargs, tensors)
        if not values or zeros or name in _READ_SHAPES:
            return self._note_zeros(name, args, out, zeros)
        self._set_values(record(self.tape, name, func, args, kwargs, values), name, args, out)
        return out

    def _run_higher_order(self, operator: HigherOrderOperator, args: tuple[Any, ...]) -> Any:
        """Run an operator that is given functions of the model.

        Raises:
            TraceError: there is no rule for it.
        """
        rule = HIGHER_ORDER_RULES.get(operator.name())
        if rule is None:
            raise TraceError(f"the model calls {operator.name()}, whose functions cannot be recorded")
        before, self._within = self._within, True
        try:
            return rule(self, self.tape, operator, args)
        finally:
            self._within = before

    def record_call(
        self, name: str, rule: Rule, call: Callable[..., Any], outputs: Callable[..., Any] | None, args: tuple[Any, ...]
    ) -> Any:
        """Run a function that has a rule of its own and record it as a whole; no mode is active.

        Args:
            name: name of the function.
            rule: its rule.
            call: the function.
            outputs: what makes its results on the meta device, if it does not run there.
            args: its arguments.
        """
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        values = [value for t in tensors if (value := self.tape.value(t)) is not None]
        if not self.compute and (any(t.is_meta for t in tensors) or any(isinstance(v, Parametric) for v in values)):
            out = (outputs or call)(*tree_map_only(Tensor, _to_meta, args))
        else:
            out = call(*args)
        if values:
            self._set_values(record_call(self.tape, name, rule, args, values), name, args, out)
        return out

    def _run_on_constants(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation on constants.

        A model makes constants on the device of its activations, meta, but may read their values: they are made on the
        CPU. Zeros that it writes into, or starts a recurrence with, stay where it wants them: this must happen on one
        device.
        """
        if kwargs.get("device") is not None and (self.compute or not _makes_zeros(name, args)):
            kwargs["device"] = torch.device("cpu")
        return self._run_real(func, args, kwargs)

    def _run_real(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation on real tensors; what it writes into is saved before, and its random numbers are our own."""
        self.writes.save(func, args, kwargs)
        if self.compute and kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        if torch.Tag.nondeterministic_seeded in func.tags:
            return self.random.draw(func, args, kwargs)
        return func(*args, **kwargs)

    def _note_value_query(self, name: str, values: Sequence[Value], is_real: bool) -> None:
        """Note that the model reads values; those of integer inputs it may.

        Raises:
            TraceError: there are no values.
        """
        is_parameter = not any(isinstance(value, Activation) for value in values)
        if is_real and (is_parameter or all(getattr(v, "role", None) is TensorRole.INDEX for v in values)):
            return
        what, where = "parameters" if is_parameter else "activations", model_line()
        if not is_real:
            raise TraceError(f"the model's control flow depends on the values of {what} ({name}{where})", True)
        self.tape.notes.append(f"the graph is that of these inputs: the model reads values of {what} ({name}{where})")

    def _note_zeros(self, name: str, args: Sequence[Any], out: Any, zeros: bool) -> Any:
        """Note whether constants are zero; one that was written into is not, even if the same is written into it."""
        if name.endswith("_") and isinstance(args[0], Tensor):
            self.tape.note_zero(args[0], False)
        elif zeros and isinstance(out, Tensor):
            self.tape.note_zero(out, True)
        return out

    def _set_values(self, value: Value, name: str, args: Sequence[Any], out: Any) -> None:
        """Give the results their value; a constant that was written into stays a real tensor, but has a value now."""
        if name.endswith("_") and isinstance(args[0], Tensor):
            self.tape.set_value(args[0], value)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.tape.set_value(tensor, value)
        if name == "_pack_padded_sequence" and isinstance(value, Activation):  # the sizes of its batches
            self.tape.set_value(out[1], Activation(value.producers, TensorRole.INDEX))


def _empty_batch_norm(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    statistics = x.new_empty(x.shape[1], device="meta")
    return torch.empty_like(x, device="meta"), statistics, statistics.clone()


def _empty_layer_norm(x: Tensor, normalized_shape: Sequence[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    kept = x.dim() - len(normalized_shape)
    statistics = x.new_empty((*x.shape[:kept], *(1 for _ in normalized_shape)), device="meta")
    return torch.empty(x.shape, dtype=x.dtype, device="meta"), statistics, statistics.clone()


_RESULTS: dict[str, Callable[..., Any]] = {
    "native_batch_norm": _empty_batch_norm,
    "native_layer_norm": _empty_layer_norm,
}
"""Results of operations that PyTorch takes apart into dozens of others on meta tensors, which takes long."""


def _run_on_meta(name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: Sequence[Tensor]) -> Any:
    if name in _RESULTS and not kwargs:
        return _RESULTS[name](*args)
    if (outputs := user_outputs(name)) is not None:
        return outputs(*tree_map_only(Tensor, _to_meta, args), **kwargs)
    if not all(t.is_meta for t in tensors):
        stay = {i: args[i] for i in _STAY_REAL.get(name, ())}
        args, kwargs = tree_map_only(Tensor, _to_meta, (args, kwargs))
        args = tuple(stay.get(i, argument) for i, argument in enumerate(args))
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
    if tensor.is_meta:
        return tensor
    return tensor.to_dense().to("meta") if tensor.layout is not torch.strided else tensor.to("meta")
