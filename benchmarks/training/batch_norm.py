"""Running statistics of batch norm after training.

Trained networks are scored with running statistics, as `model.eval()` has them; statistics of test batches are for
predicted parameters without training only, which have no running ones (DeepNets paper, section C.1).
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.training.config import TrainingConfig
from ghn_models.images.splits import ImageSplit

MOST_BATCHES = 200
"""Training batches that statistics are estimated from (DeepNets paper, section C.1)."""
_BATCH = 64
_INITIAL_SHARE = 0.01  # of a running statistic that may still be its initial value


def settle_statistics(model: nn.Module, images: ImageSplit, config: TrainingConfig, steps: int, seed: int) -> int:
    """Compute running statistics anew after a training, if its options ask for that.

    Args:
        model: the network, on the device of the images.
        images: that it was trained on.
        config: settings of the training.
        steps: that the training took.
        seed: decides which images are used.

    Returns:
        The number of batches that running statistics were computed from; 0 if they are those of training.
    """
    norms = _norms(model)
    if not norms or config.batch_norm == "running":
        return 0
    initial = max(0.0 if norm.momentum is None else (1 - norm.momentum) ** steps for norm in norms)
    if config.batch_norm == "auto" and initial <= _INITIAL_SHARE:
        return 0
    return estimate_statistics(model, images, seed)


@torch.no_grad()
def estimate_statistics(model: nn.Module, images: ImageSplit, seed: int) -> int:
    """Replace running statistics by those of training images, which are not augmented and are seen once at most.

    The batches, of 64 images, have equal weight. Dropout is off.

    Args:
        model: the network, on the device of the images.
        images: images of the training split.
        seed: decides which images are used.

    Returns:
        The number of batches; 0 if the network has no batch norm.
    """
    norms = _norms(model)
    modes = {module: module.training for module in model.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    batches = min(MOST_BATCHES, images.steps(_BATCH)) if norms else 0
    for _, (x, _labels) in zip(range(batches), images.shuffled(_BATCH, seed, 0), strict=False):
        model(x.contiguous(memory_format=torch.channels_last))
    for module, mode in modes.items():
        module.training = mode
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    return batches


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
