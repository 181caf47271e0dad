"""Losses and gradients of a network at given parameters, and learned factors of these (GradInit, MetaInit, NIO)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from deepnets.networks.kernels.convolution import convolve, is_plain
from deepnets.networks.stand_ins import call_with
from deepnets.utils.errors import InputError
from ghn_models import batch_statistics

_SMALLEST = 0.01  # factor of a weight
_CLIP = 1.0  # gradient of a factor


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Make a network twice differentiable and deterministic inside the `with` block.

    Inside, batch norm uses the statistics of each batch, dropout does nothing, and attention is not fused. Weights are
    converted to channels-last, which is faster for convolutions, and stay so afterwards.
    """
    model.to(memory_format=torch.channels_last)
    layers: list[tuple[Any, Callable[..., Tensor]]] = [
        *((module, _batch_norm) for module in model.modules() if isinstance(module, _BatchNorm)),
        *((module, convolve) for module in model.modules() if isinstance(module, nn.Conv2d) and is_plain(module)),
    ]
    with batch_statistics(model), sdpa_kernel(SDPBackend.MATH):
        for layer, forward in layers:
            layer.forward = partial(forward, layer)
        try:
            yield
        finally:
            for layer, _ in layers:
                del layer.forward


def _batch_norm(norm: Any, x: Tensor) -> Tensor:
    """Batch norm in single operations, as PyTorch's has no third derivatives; in few, as each keeps a feature map."""
    dims = [dim for dim in range(x.dim()) if dim != 1]
    count = x.numel() // x.shape[1]
    centered: Tensor = x + x.sum(dims, keepdim=True) / -count
    scale: Tensor = ((centered * centered).sum(dims, keepdim=True) / count + norm.eps).rsqrt()  # (1, C, 1, 1)
    if norm.weight is None:
        return centered * scale
    return torch.addcmul(norm.bias.view(scale.shape), centered, scale * norm.weight.view(scale.shape))


def loss(model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of a network with these parameters."""
    logits = call_with(model, parameters, images.contiguous(memory_format=torch.channels_last))
    return F.cross_entropy(logits, labels)


def gradients(value: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return gradients by name, which can be differentiated again; zeros for parameters that `value` does not use."""
    results = torch.autograd.grad(
        value, list(parameters.values()), create_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, results, strict=True))


def norm(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the L2 norm of all tensors together.

    Raises:
        InputError: the norm is not finite, so nothing can be learned.
    """
    value = torch.stack([tensor.square().sum() for tensor in tensors.values()]).sum().sqrt()
    if not torch.isfinite(value):
        raise InputError("the gradient of the loss is not finite, so nothing can be learnt")
    return value


def learn_factors(
    model: nn.Module, lr: float, steps: int, value: Callable[[dict[str, Tensor]], tuple[bool, Tensor]]
) -> None:
    """Multiply each parameter with a factor that lowers a value of the network, in place.

    Where a gradient is too large, its norm is lowered instead of the objective; each of the two has its own Adam.

    Args:
        model: the network, on the device of its images.
        lr: learning rate of the factors.
        steps: number of steps of Adam.
        value: gets the scaled parameters; returns whether a gradient is too large, and its norm or the objective.

    Raises:
        InputError: parameters are not finite in the end.
    """
    factors = _make_factors(model)
    objective, constraint = (torch.optim.Adam(factors.values(), lr=lr) for _ in range(2))
    with differentiable(model):
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        for _ in range(steps):
            too_large, lowered = value({name: factors[name] * p for name, p in parameters.items()})
            step_factors(constraint if too_large else objective, factors, lowered)
            del lowered  # its graph would stay in memory during the next step
    _apply_factors(model, factors)
    check_finite(model)


def _make_factors(model: nn.Module) -> dict[str, Tensor]:
    """Return a factor of 1 for each parameter of a network."""
    return {name: torch.ones((), device=p.device, requires_grad=True) for name, p in model.named_parameters()}


def step_factors(optimizer: torch.optim.Optimizer, factors: dict[str, Tensor], value: Tensor) -> None:
    """Make one step that lowers a value, with clipped gradients; factors of weights stay above 0.01, others above 0."""
    optimizer.zero_grad()
    gradients_of_factors = torch.autograd.grad(value, list(factors.values()), allow_unused=True, materialize_grads=True)
    for factor, gradient in zip(factors.values(), gradients_of_factors, strict=True):
        factor.grad = gradient.clamp(-_CLIP, _CLIP)
    optimizer.step()
    with torch.no_grad():
        for name, factor in factors.items():
            factor.clamp_(min=0.0 if name.endswith("bias") else _SMALLEST)


@torch.no_grad()
def _apply_factors(model: nn.Module, factors: dict[str, Tensor]) -> None:
    """Multiply each parameter with its factor, in place."""
    for name, p in model.named_parameters():
        p.mul_(factors[name])


def check_finite(model: nn.Module) -> None:
    """Raise InputError if a parameter became infinite or NaN."""
    if not all(p.isfinite().all() for p in model.parameters()):
        raise InputError("learning ended with parameters that are not finite")
