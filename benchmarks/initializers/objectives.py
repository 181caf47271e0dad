"""Losses of networks whose parameters are given, for the initialisers that learn the sizes of parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ghn_models import batch_statistics


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Within it gradients of gradients exist, and results depend on parameters and images alone.

    Batch norm uses the statistics of each batch, dropout does nothing, and attention is not fused.
    """
    with batch_statistics(model), sdpa_kernel(SDPBackend.MATH):
        yield


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
        raise ValueError("the gradient of the loss is not finite at initialisation")
    return value
