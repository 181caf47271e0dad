"""Zero-cost proxies: scores of a network from its initialization and one mini-batch.

The set of the GHN-3 paper (section A.4), which is that of Abdelfattah et al., 2021, and NWOT. Networks are in
evaluation mode but for batch norm, which uses the statistics of the mini-batch, and stay as they were. "Weights" are
those of convolutions, linear layers and attention.

With every proxy a network has no score if its value is infinite or NaN, as that of synflow, the gates of whose
squeeze-and-excite layers square all magnitudes until they overflow; or if it is exactly 0 only because the weights of a
layer are, as those of the classifier of torchvision's ViTs.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from benchmarks.scoring.batch_proxies import BATCH_PROXIES
from benchmarks.scoring.loss_gradients import cross_entropy, loss_gradients, weight_names
from benchmarks.scoring.operation_count import count_operations
from benchmarks.scoring.rectifiers import Rectifiers
from deepnets.networks.stand_ins import call_with
from deepnets.networks.weight_layers import named_weight_layers
from deepnets.tracing.restore.modules import replaced_tensors
from deepnets.utils.errors import InputError, unknown_choice
from ghn_models import batch_statistics

_JACOBIAN_EPSILON = 1e-5

Proxy = Callable[[nn.Module, Tensor, Tensor], Tensor | float]


PROXIES: dict[str, Proxy] = {}


def _proxy(function: Proxy) -> Proxy:
    PROXIES[function.__name__] = function
    return function


def score(name: str, model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the score of a network by a proxy.

    Args:
        name: one of `PROXIES`.
        model: the network, which stays as it is.
        images: (B, 3, H, W) a mini-batch, on the device of the network.
        labels: (B,) classes.

    Raises:
        InputError: an unknown name, or the proxy has no value for this network: it is not finite, or 0 because a layer
            has no weights but zeros.
        Exception: whatever the network raises.
    """
    if name not in PROXIES:
        raise InputError(unknown_choice("proxy", name, PROXIES))
    with replaced_tensors(model, {}), batch_statistics(model):
        result = PROXIES[name](model, images, labels)
    value = float(result.detach() if isinstance(result, Tensor) else result)
    if not math.isfinite(value):
        raise InputError(f"its value is {value}")
    if value == 0 and (zeros := _zero_weight(model)):
        raise InputError(f"its value is 0, as all numbers of {zeros} are")
    return value


def _zero_weight(model: nn.Module) -> str:
    """Return the name of a weight that is zero, an empty string if there is none."""
    weights = dict(model.named_parameters())
    return next((name for name in weight_names(model) if not weights[name].any()), "")


@_proxy
def random(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """A random number, which ranks at chance level (GHN-3 paper, Table 19)."""
    return torch.rand(())


@_proxy
def gradnorm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum of the L2 norms of the weights' gradients (Abdelfattah et al., 2021)."""
    _, gradients = loss_gradients(model, images, labels)
    return sum((g.norm() for g in gradients), torch.zeros(()))


@_proxy
def snip(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum of |w dL/dw| (Lee et al., 2019)."""
    weights, gradients = loss_gradients(model, images, labels)
    return _sum((w * g).abs() for w, g in zip(weights, gradients, strict=True))


@_proxy
def plain(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum of w dL/dw (Mozer and Smolensky, 1988, as in Abdelfattah et al., 2021)."""
    weights, gradients = loss_gradients(model, images, labels)
    return _sum(w * g for w, g in zip(weights, gradients, strict=True))


@_proxy
def grasp(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum of -w (H g), with the Hessian H and the gradient g of the loss (Wang et al., 2020)."""
    with sdpa_kernel(SDPBackend.MATH):  # attention in its fused form cannot be differentiated twice
        weights, gradients = loss_gradients(model, images, labels, create_graph=True)
    product = _sum(g.detach() * g for g in gradients)
    curved = torch.autograd.grad(product, weights, allow_unused=True, materialize_grads=True)
    return _sum(-w * h for w, h in zip(weights, curved, strict=True))


@_proxy
def fisher(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum over channels of the mean of (sum over positions of a dL/da)^2 / 2 (Turner et al., 2020; Theis et al., 2018).

    a are the outputs of convolutions and linear layers.
    """
    outputs: list[tuple[Tensor, int]] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs.append((output, 1 if isinstance(module, _ConvNd) else output.dim() - 1))

    handles = [module.register_forward_hook(keep) for _, module in named_weight_layers(model)]
    try:
        loss, _ = cross_entropy(model, images, labels)
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(loss, [a for a, _ in outputs], allow_unused=True, materialize_grads=True)
    total = torch.zeros(())
    for (a, channel), g in zip(outputs, gradients, strict=True):
        positions = [dim for dim in range(1, a.dim()) if dim != channel]
        effect = (a * g).sum(positions) if positions else a * g  # (B, C)
        total = total + effect.square().mean(0).sum() / 2
    return total


@_proxy
def jacob_cov(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """-sum(log(v + k) + 1 / (v + k)) over the eigenvalues v of the correlations between the Jacobians of images, which
    is high if these differ (Mellor et al., 2020, first version)."""
    images = images.detach().clone().requires_grad_()
    jacobians = torch.autograd.grad(model(images).sum(), images)[0].flatten(1)  # (B, 3 H W)
    correlations = torch.corrcoef(jacobians.double())
    if not correlations.isfinite().all():
        raise InputError("the Jacobian of an image is constant")
    v = torch.linalg.eigvalsh(correlations) + _JACOBIAN_EPSILON
    total: Tensor = (v.log() + 1 / v).sum()
    return -total


@_proxy
def synflow(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum of |w dR/dw|, R the sum of outputs for an image of ones and weights |w|, without batch norm
    (Tanaka et al., 2020)."""
    with _without_batch_norm(model):
        return _flow(model, images)


@_proxy
def synflow_bn(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Synflow with batch norm (Abdelfattah et al., 2021)."""
    return _flow(model, images)


def _flow(model: nn.Module, images: Tensor) -> Tensor:
    absolute = {name: p.detach().abs().double() for name, p in model.named_parameters()}
    names = weight_names(model)
    weights = [absolute[name].requires_grad_() for name in names]
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in model.named_buffers()}
    ones = torch.ones_like(images[:2], dtype=torch.double)  # batch norm of a single value is an error
    flow = call_with(model, absolute | buffers, ones).sum() / len(ones)
    gradients = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
    return _sum((w * g).abs() for w, g in zip(weights, gradients, strict=True))


@_proxy
def nwot(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """log |det K|; K[i, j] counts the rectifiers with the same state for images i and j (Mellor et al., 2021)."""
    kernels: list[Tensor] = []

    def keep(values: Tensor) -> None:
        on = (values.flatten(1) > 0).double()  # (B, units)
        kernels.append(on @ on.T + (1 - on) @ (1 - on).T)

    with torch.no_grad(), Rectifiers(keep):
        model(images)
    if not kernels:
        raise InputError("the network has no ReLU")
    logabsdet: Tensor = torch.linalg.slogdet(torch.stack(kernels).sum(0)).logabsdet
    return logabsdet


@_proxy
def params(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Number of parameters."""
    return float(sum(p.numel() for p in model.parameters()))


@_proxy
def flops(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Floating-point operations for one image, two for a multiplication and addition of layers and attention."""
    return count_operations(model, images[:2])  # batch norm of a single value is an error


def _sum(values: Iterator[Tensor]) -> Tensor:
    return sum((value.double().sum() for value in values), torch.zeros((), dtype=torch.double))


@contextmanager
def _without_batch_norm(model: nn.Module) -> Iterator[None]:
    norms: list[Any] = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.forward = lambda x: x
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


PROXIES |= BATCH_PROXIES
