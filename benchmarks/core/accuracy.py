"""Accuracy of networks."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from benchmarks.core.channel_folding import repeated_channels_once
from deepnets.networks.network import Network
from ghn_models import batch_statistics


@torch.no_grad()
def topk_accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Top-1 and top-5 accuracy of a network, 0 to 1; batch norm uses the statistics of each batch.

    Images with logits that are not finite are classified wrongly.

    Args:
        model: the network, on the device of the images.
        batches: images (B, 3, H, W) and labels (B,); a last one of a single image joins the one before it.
    """
    right, total = torch.zeros(2, dtype=torch.long), 0
    model.to(memory_format=torch.channels_last)  # convolutions are a quarter faster on CPUs
    # Hooks of layers, which FixUp adds, see all channels.
    hooked = any(module._forward_hooks for module in model.modules())
    shortcut = repeated_channels_once(model) if isinstance(model, Network) and not hooked else nullcontext()
    with batch_statistics(model), shortcut:
        for images, labels in _of_two_or_more(batches):
            logits = model(images.contiguous(memory_format=torch.channels_last)).float()  # (B, K)
            best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]  # (B, 5)
            best &= logits.isfinite().all(1, keepdim=True)
            right += torch.stack([best[:, 0].sum(), best.sum()]).cpu()
            total += len(labels)
    return right[0].item() / total, right[1].item() / total


def _of_two_or_more(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """A single image has no statistics for batch norm where its maps have one pixel."""
    before: tuple[Tensor, Tensor] | None = None
    for images, labels in batches:
        if before is not None and len(labels) == 1:
            images, labels = torch.cat([before[0], images]), torch.cat([before[1], labels])
        elif before is not None:
            yield before
        before = images, labels
    if before is not None:
        yield before
