"""Trainings of single networks, in one line."""

from typing import Any

from torch import nn

from benchmarks.training.config import OptimizerName, TrainingConfig, Trial
from benchmarks.training.loop import Outcome, TrainingPlan, train_network
from ghn_models.images.splits import ImageSplit


def trained(
    model: nn.Module,
    images: ImageSplit,
    epochs: float,
    batch_size: int,
    lr: float,
    seed: int = 0,
    optimizer: OptimizerName = "sgd",
    weight_decay: float = 0.0,
    **options: Any,
) -> Outcome:
    """Train a network in place, without mirrored images; options are those of `TrainingConfig`."""
    plan = plan_of(epochs, batch_size, lr, seed, optimizer, weight_decay, **options)
    return train_network(model, images, plan)


def plan_of(
    epochs: float,
    batch_size: int,
    lr: float,
    seed: int = 0,
    optimizer: OptimizerName = "sgd",
    weight_decay: float = 0.0,
    **options: Any,
) -> TrainingPlan:
    """Return the plan of a training, without mirrored images."""
    trial = Trial(optimizer, epochs, lr, weight_decay)
    return TrainingPlan(TrainingConfig(batch_size=batch_size, **options), trial, batch_size, seed, flip=False)
