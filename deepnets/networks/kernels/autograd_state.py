"""Whether own derivatives can take the place of PyTorch's."""

import torch
from torch import Tensor, nn
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad


def recorded(x: object) -> bool:
    """Whether autograd records what is done with a tensor, and nothing else does: no `torch.func`, no tracer."""
    plain = type(x) in (Tensor, nn.Parameter) and torch.is_grad_enabled()
    return plain and not (
        torch._C._are_functorch_transforms_active()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or forward_ad._current_level >= 0
    )


def transformed(gradient: Tensor) -> bool:
    """Whether it stands for many gradients at once, of `torch.func` or of `is_grads_batched`."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or is_legacy_batchedtensor(gradient)
