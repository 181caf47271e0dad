"""Losses of networks whose parameters are given, for the initialisers that learn the sizes of parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from ghn_models import batch_statistics


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Within it gradients of gradients exist, and results depend on parameters and images alone.

    Batch norm uses the statistics of each batch, dropout does nothing, and attention is not fused.
    """
    norms: list[Any] = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    with batch_statistics(model), sdpa_kernel(SDPBackend.MATH):
        for norm in norms:
            norm.forward = partial(_batch_norm, norm)
        try:
            yield
        finally:
            for norm in norms:
                del norm.forward


def _batch_norm(norm: Any, x: Tensor) -> Tensor:
    """Of single operations; PyTorch's own has no third derivatives."""
    dims = [dim for dim in range(x.dim()) if dim != 1]
    shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
    centred = x - x.mean(dims, keepdim=True)
    normalized = centred * (centred.square().mean(dims, keepdim=True) + norm.eps).rsqrt()
    return normalized if norm.weight is None else normalized * norm.weight.view(shape) + norm.bias.view(shape)


def loss(model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of a network with these parameters."""
    return F.cross_entropy(functional_call(model, dict(parameters), images), labels)


def gradients(value: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients that can be differentiated again; zeros for parameters without influence."""
    found = torch.autograd.grad(
        value, list(parameters.values()), create_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, found, strict=True))


def norm(tensors: Mapping[str, Tensor]) -> Tensor:
    """L2 norm of all tensors together.

    Raises:
        ValueError: it is not finite, so nothing can be learnt.
    """
    value = torch.stack([tensor.square().sum() for tensor in tensors.values()]).sum().sqrt()
    if not torch.isfinite(value):
        raise ValueError("the gradient of the loss is not finite, so nothing can be learnt")
    return value


def check_finite(model: nn.Module) -> None:
    """Raise ValueError if a parameter became infinite or no number."""
    if not all(p.isfinite().all() for p in model.parameters()):
        raise ValueError("learning ended with parameters that are not finite")
