"""Whether PyTorch records what gradients need."""

import torch


def recorded() -> bool:
    """Whether operations are recorded for gradients by usual means, not by `torch.func`, and for nothing else."""
    elsewhere = torch._C._are_functorch_transforms_active() or torch.jit.is_tracing()
    return torch.is_grad_enabled() and not elsewhere
