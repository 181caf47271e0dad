"""Accuracy after a short training that starts from the first parameters (GHN-3 paper, section 5.1)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.core.protocol import Case, ImageProtocol, Result
from benchmarks.core.protocol_settings import (
    check_setting,
    describe_nondefault,
    format_count,
    is_nonnegative,
    is_positive,
)

if TYPE_CHECKING:
    from torch import nn

    from ghn_models.images.datasets import ImageTask

_WEIGHT_DECAY = 3e-5


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of fine-tuning.

    Args:
        epochs: number of training epochs; 0.1, 1 and 10 in the papers.
        lrs: learning rates to try; each network gets the one with the best validation accuracy.
        beta: for GHNs: strength of the noise on predicted weights, which makes equal channels different; 3e-5 in the
            GHN-orth paper, for weights that are made orthogonal.
    """

    epochs: float = 1.0
    lrs: tuple[float, ...] = (0.4, 0.1, 0.04, 0.01, 0.001)
    beta: float = 1e-5

    def __post_init__(self) -> None:
        check_setting("finetune.epochs", self.epochs, is_positive, "above 0")
        check_setting("finetune.lrs", self.lrs, is_positive, "one or more learning rates above 0")
        check_setting("finetune.beta", self.beta, is_nonnegative, "0 or more")


class Finetune(ImageProtocol[FinetuneConfig]):
    """Test accuracy with the learning rate that is best on the validation images.

    Training is SGD with momentum 0.9, weight decay 3e-5 and batches of 128 images. Test images are seen by the network
    with the best learning rate alone. If the loss is not finite for any learning rate, the accuracies are 0 and the
    recorded lr is the first. Batch norm uses the statistics of batches of 64 images, as without fine-tuning. The
    members of an ensemble are trained one by one, with the learning rate that is best for the ensemble.
    """

    name = "finetune"
    about = "accuracy after a short training that starts from the first parameters"
    settings_class = FinetuneConfig
    columns = ("lr", "val_top1")
    batch_size = 128
    tolerance = 0.04

    def evaluate(self, case: Case[ImageTask], settings: FinetuneConfig) -> Result:
        from benchmarks.core.accuracy import topk_accuracy

        evaluation_batch = case.evaluation_batch
        best: tuple[float, float] = (-1.0, 0.0)
        trained = False
        for lr in settings.lrs:
            model, finite = _train(case, settings.epochs, lr)
            accuracy = topk_accuracy(model, case.task.val.batches(evaluation_batch))[0] if finite else 0.0
            if accuracy > best[0]:
                best, chosen, trained = (accuracy, lr), model, finite
        top1, top5 = topk_accuracy(chosen, case.task.test.batches(evaluation_batch)) if trained else (0.0, 0.0)
        return {"lr": best[1], "val_top1": best[0], "top1": top1, "top5": top5}

    def describe_settings(self, settings: FinetuneConfig) -> str:
        return describe_nondefault(format_count(settings.epochs, "epoch"), settings, "epochs")

    def noise_strength(self, settings: FinetuneConfig) -> float:
        return settings.beta


def _train(case: Case[ImageTask], epochs: float, lr: float) -> tuple[nn.Module, bool]:
    """Return a trained copy of the network, and whether all losses were finite."""
    from benchmarks.core.ensemble import members
    from benchmarks.core.sgd import fine_tune

    model = deepcopy(case.model)
    options = (case.task.train, epochs, case.batch_size, lr, _WEIGHT_DECAY, case.seed, case.task.flip)
    return model, all(fine_tune(member, *options) for member in members(model))
