"""The state of autograd, which decides whether the derivatives of this package can replace PyTorch's."""

import torch
from torch import Tensor, nn
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad


def is_recording(x: object) -> bool:
    """Tell whether autograd records operations on a tensor, and nothing else does: no `torch.func`, no tracer."""
    plain = type(x) in (Tensor, nn.Parameter) and torch.is_grad_enabled()
    return plain and not (
        torch._C._are_functorch_transforms_active()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or forward_ad._current_level >= 0
    )


def is_functorch_transformed(gradient: Tensor) -> bool:
    """Tell whether a gradient stands for a batch of gradients, of `torch.func` or of `is_grads_batched`."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or is_legacy_batchedtensor(gradient)
