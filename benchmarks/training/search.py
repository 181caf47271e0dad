"""Training of a case's network with the points of a grid of hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from benchmarks.core import accuracy
from benchmarks.core.ensemble import members
from benchmarks.core.protocol import Case
from benchmarks.training import batch_norm, loop
from benchmarks.training.config import TrainingConfig, Trial
from benchmarks.training.loop import CurveLine, TrainingPlan
from ghn_models.images.datasets import ImageTask
from ghn_models.images.splits import ImageSplit


@dataclass(frozen=True, eq=False)
class Trained:
    """A network after training.

    Args:
        model: the network.
        trial: hyperparameters that it was trained with.
        finite: all losses were finite; if not, it has no accuracy.
        norm_batches: training batches that running statistics of batch norm were computed from after training; 0 if
            they are those of training.
        converged: steps until the training accuracy reached its target, see `Outcome`; of the slowest network of an
            ensemble.
        initial_gradient_norm: L2 norm of the gradient of the first batch, the largest of an ensemble.
        curve: a line for each epoch.
    """

    model: nn.Module
    trial: Trial
    finite: bool
    norm_batches: int = 0
    converged: int = 0
    initial_gradient_norm: float = 0.0
    curve: list[CurveLine] = field(default_factory=list)

    def accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
        """Return top-1 and top-5 accuracy with running statistics of batch norm; 0 if training diverged."""
        return accuracy.topk_accuracy(self.model, batches, running=True) if self.finite else (0.0, 0.0)


def train_copy(
    case: Case[ImageTask], images: ImageSplit, config: TrainingConfig, trial: Trial, name: str = "0"
) -> Trained:
    """Train a copy of a case's network, the networks of an ensemble one by one.

    Args:
        case: the network with its first parameters.
        images: to train on.
        config, trial: how.
        name: name of this training among those of the case.
    """
    return train_in_place(deepcopy(case.model), case, images, config, trial, name)


def train_in_place(
    model: nn.Module, case: Case[ImageTask], images: ImageSplit, config: TrainingConfig, trial: Trial, name: str = "0"
) -> Trained:
    """Train a network that the case does not need any more, see `train_copy`."""
    plan = TrainingPlan(config, trial, min(config.batch_size, case.batch_size), case.seed, case.task.flip)
    folder = case.folder
    validate = _validation(case) if folder is not None and folder.curves else None
    curve: list[CurveLine] = []
    finite, norm_batches, converged, gradient_norm = True, 0, 0, 0.0
    for number, member in enumerate(members(model)):
        outcome = loop.train_network(member, images, plan, folder, f"{name}-{number}", validate)
        finite, converged = finite and outcome.finite, max(converged, outcome.converged)
        gradient_norm = max(gradient_norm, outcome.initial_gradient_norm)
        curve += [{"training": name, "member": number, **_named(trial), **line} for line in outcome.curve]
        if not finite:
            break
        batches = batch_norm.settle_statistics(member, images, config, outcome.steps, case.seed)
        norm_batches = max(norm_batches, batches)
    return Trained(model, trial, finite, norm_batches, converged, gradient_norm, curve)


def _named(trial: Trial) -> dict[str, Any]:
    return {"optimizer": trial.optimizer, "lr": trial.lr, "weight_decay": trial.weight_decay}


def _validation(case: Case[ImageTask]) -> Any:
    """Return a function that measures accuracy on validation images, which curves have for each epoch."""

    def validate(model: nn.Module) -> float:
        return accuracy.topk_accuracy(model, case.task.val.batches(case.evaluation_batch), running=True)[0]

    return validate
