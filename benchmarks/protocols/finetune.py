"""Accuracy after a training that starts from the first parameters (GHN-3 paper, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.core.protocol import Case, ImageProtocol, Result
from benchmarks.core.protocol_settings import (
    check_setting,
    describe_nondefault,
    format_count,
    is_nonnegative,
    is_positive,
)
from benchmarks.training.config import OptimizerName, TrainingConfig, Trial

if TYPE_CHECKING:
    from benchmarks.training.search import Trained
    from ghn_models.images.datasets import ImageTask


@dataclass(frozen=True)
class FinetuneConfig(TrainingConfig):
    """Settings of fine-tuning.

    Args:
        epochs: number of training epochs; 0.1, 1 and 10 in the GHN-3 paper.
        steps: number of training steps, in place of epochs; 0 for epochs.
        optimizer: sgd with momentum 0.9, adam or adamw.
        lrs: learning rates to try; each network gets the one with the best validation accuracy.
        weight_decays: weight decays to try; each network gets the best pair of learning rate and weight decay.
        noise: deviation of Gaussian noise on validation images, whose values are from 0 to 1, for noisy_val_top1
            (DeepNets paper, section C.2.3: 0.08 on CIFAR-10, 0.18 on ImageNet); 0 adds none.
        beta: for GHNs: strength of the noise on predicted weights, which makes equal channels different; 3e-5 in the
            GHN-orth paper, for weights that are made orthogonal.
    """

    epochs: float = 1.0
    steps: int = 0
    optimizer: OptimizerName = "sgd"
    lrs: tuple[float, ...] = (0.4, 0.1, 0.04, 0.01, 0.001)
    weight_decays: tuple[float, ...] = (3e-5,)
    noise: float = 0.0
    beta: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", float(self.epochs))  # 1 and 1.0 are one setting in records
        self.check("finetune")
        check_setting("finetune.epochs", self.epochs, is_positive, "above 0")
        check_setting("finetune.steps", self.steps, is_nonnegative, "0 or more")
        check_setting("finetune.lrs", self.lrs, is_positive, "one or more learning rates above 0")
        check_setting(
            "finetune.weight_decays", self.weight_decays, lambda w: 0 <= w < 1, "one or more numbers from 0 to below 1"
        )
        check_setting("finetune.noise", self.noise, is_nonnegative, "0 or more")
        check_setting("finetune.beta", self.beta, is_nonnegative, "0 or more")

    def trials(self) -> list[Trial]:
        """Return the points of the grid."""
        pairs = product(self.lrs, self.weight_decays)
        return [Trial(self.optimizer, self.epochs, lr, decay, self.steps) for lr, decay in pairs]


class Finetune(ImageProtocol[FinetuneConfig]):
    """Test accuracy with the learning rate and weight decay that are best on the validation images.

    Test images are seen by the network with the best hyperparameters alone. If the loss is not finite for any of them,
    the accuracies are 0 and the recorded lr is the first. Batch norm uses running statistics: version 1 used those of
    test batches. The members of an ensemble are trained one by one, with the learning rate that is best for the
    ensemble.
    """

    name = "finetune"
    version = 2
    about = "accuracy after a short training that starts from the first parameters"
    settings_class = FinetuneConfig
    columns = (
        *("lr", "weight_decay", "norm_batches", "initial_gradient_norm", "converged"),
        *("noisy_val_top1", "val_top1"),
    )
    choices = {"lr": ("lrs",), "weight_decay": ("weight_decays",)}  # noqa: RUF012
    batch_size = 128
    trains = True
    tolerance = 0.04

    def evaluate(self, case: Case[ImageTask], settings: FinetuneConfig) -> Result:
        from benchmarks.training.search import train_copy

        best, best_accuracy, curves = None, -1.0, []
        for number, trial in enumerate(settings.trials()):
            trained = train_copy(case, case.task.train, settings, trial, str(number))
            curves += trained.curve
            accuracy = trained.accuracy(case.task.val.batches(case.evaluation_batch))[0]
            if accuracy > best_accuracy:
                best, best_accuracy = trained, accuracy
        assert best is not None  # there is one trial at least
        if case.folder is not None:
            case.folder.write_curves(curves)
            case.folder.keep_network(best.model)
        top1, top5 = best.accuracy(case.task.test.batches(case.evaluation_batch))
        return {
            "lr": best.trial.lr,
            "weight_decay": best.trial.weight_decay,
            "norm_batches": best.norm_batches,
            "initial_gradient_norm": best.initial_gradient_norm,
            "converged": best.converged,
            "noisy_val_top1": _noisy_accuracy(best, case, settings.noise) if settings.noise else best_accuracy,
            "val_top1": best_accuracy,
            "top1": top1,
            "top5": top5,
        }

    def describe_settings(self, settings: FinetuneConfig) -> str:
        from benchmarks.protocols.presets import preset_of

        length = format_count(settings.steps, "step") if settings.steps else format_count(settings.epochs, "epoch")
        preset = preset_of(self.name, settings, "epochs", "steps")
        if preset is not None:
            return f"{length}, as in {preset}"
        return describe_nondefault(length, settings, "epochs", "steps")

    def batch_size_of(self, settings: FinetuneConfig) -> int:
        return settings.batch_size

    def noise_strength(self, settings: FinetuneConfig) -> float:
        return settings.beta


def _noisy_accuracy(trained: Trained, case: Case[ImageTask], noise: float) -> float:
    """Return the accuracy on validation images with Gaussian noise, which depends on the seed of the case."""
    from benchmarks.core.accuracy import with_noise

    val = case.task.val
    return trained.accuracy(with_noise(val.batches(case.evaluation_batch), noise / val.std, case.seed))[0]
