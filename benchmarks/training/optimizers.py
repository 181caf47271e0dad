"""Optimizers of single networks, and the schedules of their learning rate."""

from math import cos, pi

import torch
from torch import nn

from benchmarks.training.config import OptimizerName, TrainingConfig

_MOMENTUM = 0.9
_SLOW, _SLOWER = "fixup_", 0.1  # scalars of FixUp, whose authors train them with a tenth of the learning rate


def make_optimizer(
    model: nn.Module, lr: float, weight_decay: float, name: OptimizerName = "sgd", nesterov: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer of a network; the scalars of FixUp get a tenth of the learning rate.

    Args:
        model: the network.
        lr, weight_decay: learning rate and weight decay of the optimizer.
        name: sgd is SGD with momentum 0.9; adam and adamw have PyTorch's betas, 0.9 and 0.999.
        nesterov: whether SGD has Nesterov momentum.
    """
    by_share: dict[float, list[nn.Parameter]] = {1.0: [], _SLOWER: []}
    for path, parameter in model.named_parameters():
        by_share[_SLOWER if _SLOW in path else 1.0].append(parameter)
    groups = [{"params": parameters, "share": share} for share, parameters in by_share.items() if parameters]
    optimizer: torch.optim.Optimizer
    if name == "sgd":
        optimizer = torch.optim.SGD(groups, lr, _MOMENTUM, weight_decay=weight_decay, nesterov=nesterov)
    else:
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        optimizer = kind(groups, lr, weight_decay=weight_decay)
    set_lr(optimizer, lr)
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate; each group of parameters gets its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]


def lr_factor(config: TrainingConfig, step: int, total: int, per_epoch: int) -> float:
    """Return the factor of the learning rate at a step, from 0.

    Args:
        config: its schedule.
        step: number of the step, from 0.
        total: steps of the training.
        per_epoch: steps of an epoch.
    """
    warmup = config.warmup * per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "cosine":
        return 0.5 * (1 + cos(pi * (step - warmup) / max(1, total - warmup)))
    if config.schedule == "step":
        return float(0.1 ** int(step // (config.decay_every * per_epoch)))
    return 1.0
