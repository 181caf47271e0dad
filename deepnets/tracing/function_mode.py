"""Recording of recurrent layers as one call each, before PyTorch splits them into many operations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from deepnets.tracing.errors import model_line
from deepnets.tracing.rules.recurrent import RECURRENT, record_recurrent
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, TensorRole

_LEAVE_TORCH = ("numpy", "__array__", "tolist", "data_ptr")
"""Functions behind which nothing can be recorded."""


class FunctionRecorder(TorchFunctionMode):
    """A mode in which recurrent layers are recorded as a whole.

    PyTorch's fused attention layers, which hide what they do, are not used while a mode like this is active.

    Args:
        tape: record of the call.
        compute: run functions on real tensors.
    """

    def __init__(self, tape: Tape, compute: bool) -> None:
        super().__init__()
        self.tape, self.compute = tape, compute

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        value = self.tape.value(args[0]) if name in _LEAVE_TORCH else None
        if isinstance(value, Activation) and value.role is not TensorRole.INDEX:
            self.tape.notes.append(f"the model takes the values of activations out of PyTorch ({name}{model_line()})")
        if name not in RECURRENT or kwargs:
            return func(*args, **kwargs)
        recurrent = record_recurrent(self.tape, args)
        if recurrent is None:
            return func(*args, **kwargs)
        with _disable_current_modes():
            out = func(*(args if self.compute else tree_map_only(Tensor, _float_to_meta, tuple(args))))
        for tensor in tree_leaves(out):
            self.tape.set_value(tensor, recurrent)
        return out


def _float_to_meta(tensor: Tensor) -> Tensor:
    """Move what is computed to the meta device; the batch sizes of packed sequences stay."""
    return tensor.to("meta") if tensor.is_floating_point() or tensor.is_complex() else tensor
