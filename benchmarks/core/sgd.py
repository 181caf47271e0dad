"""Training of single networks by SGD with momentum."""

from collections.abc import Iterator
from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghn_models.images.splits import ImageSplit

_MOMENTUM = 0.9
_CROP = 4
_SLOW, _SLOWER = "fixup_", 0.1  # scalars of FixUp, whose authors train them with a tenth of the learning rate


def fine_tune(
    model: nn.Module,
    images: ImageSplit,
    epochs: float,
    batch_size: int,
    lr: float,
    weight_decay: float,
    seed: int,
    flip: bool,
    decay: bool = False,
) -> bool:
    """Train a network in place: SGD with momentum 0.9, images augmented as in `epochs_of`.

    Args:
        model: the network.
        images: to train on.
        epochs: number of epochs, which may be a fraction; at least one step is made.
        batch_size, lr, weight_decay: settings of SGD.
        seed: seed of the order of images, their augmentation and dropout.
        flip: mirror half of the images.
        decay: let the learning rate fall to 0 as a cosine; else it is constant.

    Returns:
        Whether all losses were finite; training ends with the first loss that is not.
    """
    steps = max(1, round(epochs * images.steps(batch_size)))
    seed_device(model, seed)
    sgd = optimizer(model, lr, weight_decay)
    model.to(memory_format=torch.channels_last).train()
    for step, (x, y) in zip(range(steps), epochs_of(images, batch_size, seed, flip), strict=False):
        if decay:
            set_lr(sgd, lr * 0.5 * (1 + cos(pi * step / steps)))
        output = model(x.contiguous(memory_format=torch.channels_last))
        logits = output if isinstance(output, Tensor) else output[0]  # GoogLeNet and Inception add auxiliary ones
        loss = F.cross_entropy(logits, y)
        if not torch.isfinite(loss):
            return False
        sgd.zero_grad()
        torch.autograd.backward(loss)
        sgd.step()
    return True


def optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.SGD:
    """Return SGD with momentum 0.9; the scalars of FixUp get a tenth of the learning rate."""
    by_share: dict[float, list[nn.Parameter]] = {1.0: [], _SLOWER: []}
    for name, parameter in model.named_parameters():
        by_share[_SLOWER if _SLOW in name else 1.0].append(parameter)
    groups = [{"params": parameters, "share": share} for share, parameters in by_share.items() if parameters]
    sgd = torch.optim.SGD(groups, lr, _MOMENTUM, weight_decay=weight_decay)
    set_lr(sgd, lr)
    return sgd


def set_lr(optimizer: torch.optim.SGD, lr: float) -> None:
    """Set the learning rate; each group of parameters gets its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]


def seed_device(model: nn.Module, seed: int) -> None:
    """Seed the random numbers of the device that a network is on, and of no other device.

    While a network trains on a GPU, the next one is built with random numbers of the CPU.
    """
    state = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    device = next(model.parameters()).device
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(state)
    else:
        torch.default_generator.manual_seed(state)


def epochs_of(images: ImageSplit, batch_size: int, seed: int, flip: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the augmented batches of one epoch after the other, without end.

    Images in memory are shifted by up to 4 pixels, files are cropped at random; half of both are mirrored if `flip`.
    """
    epoch = 0
    while True:
        yield from images.shuffled(batch_size, seed, epoch, 0, _CROP, flip)
        epoch += 1
