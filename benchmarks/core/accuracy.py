"""Accuracy of networks on labelled images."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from benchmarks.core.channel_folding import repeated_channels_once
from deepnets.networks.network import Network
from ghn_models import batch_statistics


@torch.no_grad()
def topk_accuracy(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], running: bool = False
) -> tuple[float, float]:
    """Return top-1 and top-5 accuracy of a network, 0 to 1, in evaluation mode.

    Images with logits that are not finite are classified wrongly.

    Args:
        model: the network, on the device of the images.
        batches: images (B, 3, H, W) and labels (B,); a last batch of a single image joins the one before it.
    """
    correct, total = torch.zeros(2, dtype=torch.long), 0
    model.to(memory_format=torch.channels_last)  # convolutions are a quarter faster on CPUs
    # Hooks of layers, which FixUp adds, see all channels.
    hooked = any(module._forward_hooks for module in model.modules())
    repeats = isinstance(model, Network) and not hooked and not running  # only predicted weights do
    shortcut = repeated_channels_once(model) if repeats else nullcontext()
    with running_statistics(model) if running else batch_statistics(model), shortcut:
        for images, labels in _join_single_image(batches):
            logits = model(images.contiguous(memory_format=torch.channels_last)).float()  # (B, K)
            best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]  # (B, 5)
            best &= logits.isfinite().all(1, keepdim=True)
            correct += torch.stack([best[:, 0].sum(), best.sum()]).cpu()
            total += len(labels)
    return correct[0].item() / total, correct[1].item() / total


def with_noise(
    batches: Iterable[tuple[Tensor, Tensor]], deviation: Tensor, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches with Gaussian noise on their images.

    Args:
        batches: normalized images (B, 3, H, H) and labels.
        deviation: (3,) of the noise on each channel, in units of normalized images.
        seed: seed of the noise, which is the same on all devices.
    """
    generator = torch.Generator().manual_seed(seed)
    for images, labels in batches:
        noise = torch.randn(images.shape, generator=generator).to(images.device)
        yield images + deviation[:, None, None] * noise, labels


@contextmanager
def running_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Put a network in evaluation mode, with running statistics of batch norm; afterwards it is as before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes.items():
            module.training = training


def _join_single_image(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches; a last one of a single image, which has no statistics, joins the one before it."""
    previous: tuple[Tensor, Tensor] | None = None
    for images, labels in batches:
        if previous is not None and len(labels) == 1:
            images, labels = torch.cat([previous[0], images]), torch.cat([previous[1], labels])
        elif previous is not None:
            yield previous
        previous = images, labels
    if previous is not None:
        yield previous
