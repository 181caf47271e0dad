"""MetaInit: learned norms of weights, with which curvature changes the gradient little (Dauphin, Schoenholz, 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmarks.initializers.base import InitContext
from benchmarks.initializers.objectives import check_finite, differentiable, gradients, loss, norm
from deepnets.networks.weight_layers import named_weight_layers
from deepnets.utils.errors import InputError

STEPS = 500
_LR = 0.1  # change of a norm in one step of sign descent
_MOMENTUM = 0.9
_EPSILON = 1e-5
_SMALLEST = 1e-3  # norm: one that would be negative turned the weight around
_BATCH = 16  # ours, as each step takes a CPU 27 convolutions for one; the paper takes the batch size of training


def metainit(model: nn.Module, context: InitContext, steps: int = STEPS) -> None:
    """Learn the norm of each weight by minimizing the gradient quotient (Dauphin and Schoenholz, 2019, Algorithm 1).

    Descent follows the sign of the derivative with momentum 0.9. Inputs are noise and labels are random, so nothing is
    learned about the task. Vectors (biases, norm layers) stay as they are. Unlike those of the paper, networks may have
    batch norm, which uses the statistics of each batch. Weights of norm 0 have no direction in which they could
    grow, and let no gradient through to the layers before, so a network must not have any.

    Args:
        model: the network with a random initialization; moved to the device of the images.
        context: classes of its task, image size and random numbers.
        steps: number of steps.

    Raises:
        InputError: a layer has weights of norm 0, as the classifiers of torchvision's Vision Transformers; gradients or
            norms are not finite.
    """
    for name, module in named_weight_layers(model):
        if not module.weight.any():
            raise InputError(f"MetaInit learns norms of weights, and all weights of {name} are 0, which have none")
    device = context.images().train.labels.device
    weights = {name: p for name, p in model.to(device).named_parameters() if p.dim() >= 2}
    speeds = dict.fromkeys(weights, 0.0)
    with differentiable(model):
        for _ in range(steps):
            images, labels = noise(context)
            quotient = gradient_quotient(model, images.to(device), labels.to(device))
            derivatives = torch.autograd.grad(
                quotient, list(weights.values()), allow_unused=True, materialize_grads=True
            )
            for (name, weight), derivative in zip(weights.items(), derivatives, strict=True):
                sign = float((weight.detach() * derivative).sum().sign())  # of the derivative by the norm
                speeds[name] = _MOMENTUM * speeds[name] - _LR * sign
                _change_norm(weight, speeds[name])
    check_finite(model)


def gradient_quotient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over parameters of |(g - H g) / g - 1|, with gradient g and Hessian H of the loss (Eq. 1).

    It is 0 if a step along the gradient does not change the gradient.
    """
    parameters: Mapping[str, Tensor] = dict(model.named_parameters())
    g = gradients(loss(model, parameters, images, labels), parameters)
    half = norm(g).square() / 2
    products = gradients(half, parameters)  # H g
    terms = [((x - products[name]) / (x + _EPSILON * _sign(x)) - 1).abs().sum() for name, x in g.items()]
    return torch.stack(terms).sum() / sum(p.numel() for p in parameters.values())


def noise(context: InitContext) -> tuple[Tensor, Tensor]:
    """Draw images of normal random numbers (B, 3, H, H) and uniform random labels (B,)."""
    count = max(2, round(_BATCH * context.batch_share))  # batch norm needs two
    images = torch.randn(count, 3, context.image_size, context.image_size, generator=context.generator)
    return images, torch.randint(context.images().num_classes, (count,), generator=context.generator)


def _sign(x: Tensor) -> Tensor:
    """Return the sign, which is 1 for 0, as it must not be 0."""
    return torch.where(x.detach() >= 0, 1.0, -1.0)


@torch.no_grad()
def _change_norm(weight: Tensor, by: float) -> None:
    size = float(weight.norm())
    if size > 0:  # not so for tokens that are 0 at first
        weight.mul_(max(size + by, _SMALLEST) / size)
