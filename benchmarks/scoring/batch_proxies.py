"""Zero-cost proxies of the years after the GHN-3 paper's set: zen, zico, l2_norm, epe_nas and swap."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.scoring.loss_gradients import loss_gradients, weight_names
from benchmarks.scoring.rectifiers import Rectifiers
from deepnets.networks.stand_ins import call_with
from deepnets.utils.errors import InputError

_ZEN_STEP = 0.01
_EPE_EPSILON = 1e-5
_EPE_CLASSES = 100


def l2_norm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum of the L2 norms of the weights (Abdelfattah et al., 2021)."""
    weights = dict(model.named_parameters())
    return sum((weights[name].detach().norm() for name in weight_names(model)), torch.zeros(()))


def zico(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum over layers of log(sum over weights of mean |g| / std |g|), g the gradients of mini-batches
    (Li et al., 2023, eq. 17).

    As in the paper there are two mini-batches: the halves of the given one. Weights whose |g| is the same in both do
    not count, and neither do layers without others.
    """
    if len(images) < 2:
        raise InputError("it needs two images")
    batches = zip(images.tensor_split(2), labels.tensor_split(2), strict=True)
    gradients = [loss_gradients(model, *batch)[1] for batch in batches]
    total = torch.zeros((), dtype=torch.double)
    for first, second in zip(*gradients, strict=True):
        sizes = torch.stack([first, second]).abs().double()
        mean, std = sizes.mean(0), sizes.std(0, correction=0)
        ratios = (mean[std > 0] / std[std > 0]).sum()
        total += ratios.log() if ratios > 0 else 0.0
    return total


def epe_nas(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Sum over classes of |sum of log(|c| + k)|, c the correlations between the Jacobians of images of a class
    (Lopes et al., 2021, eqs. 3 to 5).

    With more than 100 classes in the mini-batch it is the sum over pairs of classes of the differences between these
    sums, divided by their L2 norm.
    """
    images = images.detach().clone().requires_grad_()
    jacobians = torch.autograd.grad(model(images).sum(), images)[0].flatten(1).double()  # (B, 3 H W)
    sums = []
    for label in labels.unique():
        correlations = torch.atleast_2d(torch.corrcoef(jacobians[labels == label]))
        if not correlations.isfinite().all():
            raise InputError("the Jacobian of an image is constant")
        sums.append((correlations.abs() + _EPE_EPSILON).log().sum())
    of_classes = torch.stack(sums)
    total: Tensor = of_classes.abs().sum()
    if len(of_classes) > _EPE_CLASSES:
        total = (of_classes[:, None] - of_classes).abs().triu().sum() / of_classes.norm()
    return total


def swap(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Number of distinct patterns of rectifiers: for which images of the mini-batch one is on (Peng et al., 2024).

    Patterns are compared by 64-bit hashes.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(2**62, (len(images),), generator=generator).to(images.device)
    hashes: list[Tensor] = []

    def keep(values: Tensor) -> None:
        on = (values.flatten(1) > 0).long()  # (B, units)
        hashes.append((weights[:, None] * on).sum(0).unique())

    with torch.no_grad(), Rectifiers(keep):
        model(images)
    if not hashes:
        raise InputError("the network has no ReLU")
    return float(len(torch.cat(hashes).unique()))


class _Statistics:
    """Deviations that batch norms see, and the map that global average pooling reads."""

    def __init__(self) -> None:
        self.log_deviations = 0.0
        self.map: Tensor | None = None

    def norm_hook(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variances = inputs[0].double().transpose(0, 1).flatten(1).var(1, correction=0)
        self.log_deviations += float(variances.mean().sqrt().log())

    def pool_hook(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.map = inputs[0]


def zen(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """log of the mean of |f(x) - f(x + 0.01 e)| plus the sum over batch norms of log of the deviation they divide by
    (Lin et al., 2021, algorithm 1).

    Weights, images x and noise e are standard normal numbers, batch norms neither scale nor shift, f is the map in
    front of global average pooling (the logits, if there is none). Residual connections stay, which the paper removes.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    parameters |= {name: normal(parameters[name]) for name in weight_names(model)}
    for prefix, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.affine:
            name = f"{prefix}.".lstrip(".")
            parameters[f"{name}weight"] = torch.ones_like(parameters[f"{name}weight"])
            parameters[f"{name}bias"] = torch.zeros_like(parameters[f"{name}bias"])
    x, noise = normal(images), normal(images)
    first, statistics = _features(model, parameters, x)
    second, _ = _features(model, parameters, x + _ZEN_STEP * noise)
    difference = (first - second).double().flatten(1).norm(dim=1).mean()
    return float(difference.log()) + statistics.log_deviations


def _features(model: nn.Module, parameters: dict[str, Tensor], images: Tensor) -> tuple[Tensor, _Statistics]:
    statistics = _Statistics()
    handles = []
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(statistics.norm_hook))
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            handles.append(module.register_forward_pre_hook(statistics.pool_hook))
    try:
        with torch.no_grad():
            logits = call_with(model, parameters, images)
    finally:
        for handle in handles:
            handle.remove()
    return logits if statistics.map is None else statistics.map, statistics


BATCH_PROXIES = {proxy.__name__: proxy for proxy in (zen, zico, l2_norm, epe_nas, swap)}
