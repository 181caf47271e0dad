"""Accuracy on a task with few labels, with a new classifier (DeepNets paper, section 5.3; GHN-3 paper, section 5.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmarks.core.protocol import Case, ImageProtocol, Result
from benchmarks.core.protocol_settings import check_setting, describe_nondefault, is_nonnegative, is_positive
from benchmarks.training.config import OptimizerName, TrainingConfig, Trial
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.training.search import Trained
    from ghn_models.images.datasets import ImageTask
    from ghn_models.images.splits import ImageSplit

_HELD_OUT = 5  # every fifth label is for choosing hyperparameters, if they are held out of the labels


@dataclass(frozen=True)
class TransferConfig(TrainingConfig):
    """Transfer.

    Args:
        labels_per_class: training images of each class; 0 for 1,000 in all, as in the papers.
        epochs: numbers of training epochs.
        optimizers: optimizers to try: sgd, adam, adamw.
        lrs: learning rates of sgd.
        adam_lrs: learning rates of adam and adamw.
        weight_decays: of all optimizers. Each network gets the epochs, optimizer, learning rate and weight decay that
            are best together on held-out images.
        held_out: which images these are: a fifth of the labels (labels; DeepNets paper), or the validation split, 5,000
            images for CIFAR (val; GHN-orth paper).
        beta: for GHNs: strength of the noise on predicted weights, which makes equal channels different; 3e-5 in the
            GHN-orth paper, for weights that are made orthogonal.
    """

    batch_size: int = 96
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    labels_per_class: int = 0
    epochs: tuple[int, ...] = (50,)
    optimizers: tuple[OptimizerName, ...] = ("sgd",)
    lrs: tuple[float, ...] = (0.1, 0.03, 0.01)
    adam_lrs: tuple[float, ...] = (0.004, 0.001, 0.0004, 0.0001)
    weight_decays: tuple[float, ...] = (1e-4, 1e-2)
    held_out: Literal["labels", "val"] = "labels"
    beta: float = 1e-5

    def __post_init__(self) -> None:
        self.check("transfer")
        fits = f"0, or {_HELD_OUT} or more"
        check_setting("transfer.labels_per_class", self.labels_per_class, lambda n: n == 0 or n >= _HELD_OUT, fits)
        check_setting("transfer.epochs", self.epochs, lambda n: n >= 1, "1 or more")
        for name in ("lrs", "adam_lrs"):
            check_setting(f"transfer.{name}", getattr(self, name), is_positive, "one or more learning rates above 0")
        check_setting(
            "transfer.weight_decays", self.weight_decays, lambda w: 0 <= w < 1, "one or more numbers from 0 to below 1"
        )
        check_setting("transfer.beta", self.beta, is_nonnegative, "0 or more")
        if not self.optimizers or len(set(self.optimizers)) < len(self.optimizers):
            raise InputError("transfer.optimizers needs one or more optimizers, each once")

    def trials(self) -> list[Trial]:
        """Return the points of the grid."""
        return [
            Trial(optimizer, epochs, lr, decay)
            for optimizer, epochs in product(self.optimizers, self.epochs)
            for lr, decay in product(self.lrs if optimizer == "sgd" else self.adam_lrs, self.weight_decays)
        ]


class Transfer(ImageProtocol[TransferConfig]):
    """Test accuracy after training all of the network on few labels.

    The classifier is a new one, with PyTorch's initialization, unless the initializer makes classifiers for these
    classes (He, FixUp, GradInit, MetaInit). Hyperparameters are chosen on held-out images. If a fifth of the labels is
    held out, the network is then trained on all of them. The labels depend on the seed. If the losses of the last
    training are not finite, accuracies are 0. Batch norm uses running statistics: version 1 used those of test batches.
    """

    name = "transfer"
    version = 2
    about = "accuracy after training on few labels of another data set, which starts from the first parameters"
    settings_class = TransferConfig
    columns = ("optimizer", "epochs", "lr", "weight_decay", "norm_batches", "val_top1")
    choices = {  # noqa: RUF012
        "optimizer": ("optimizers",),
        "epochs": ("epochs",),
        "lr": ("lrs", "adam_lrs"),
        "weight_decay": ("weight_decays",),
    }
    default_groups = ("resnet50", "vit", "darts", "convnext_base", "swin_t")
    batch_size = 96
    repeats = 3
    trains = True
    tolerance = 0.04

    def evaluate(self, case: Case[ImageTask], settings: TransferConfig) -> Result:
        from benchmarks.core.ensemble import members
        from benchmarks.training.loop import seed_device

        seed_device(case.model, case.seed)
        for member in () if case.classifier_fits else members(case.model):
            reset_classifier(member, case.task.num_classes)
        best, accuracy = _train_best(case, settings)
        if case.folder is not None:
            case.folder.write_curves(best.curve)
            case.folder.keep_network(best.model)
        top1, top5 = best.accuracy(case.task.test.batches(case.evaluation_batch))
        return {
            "optimizer": best.trial.optimizer,
            "epochs": best.trial.epochs,
            "lr": best.trial.lr,
            "weight_decay": best.trial.weight_decay,
            "norm_batches": best.norm_batches,
            "val_top1": accuracy,
            "top1": top1,
            "top5": top5,
        }

    def describe_settings(self, settings: TransferConfig) -> str:
        from benchmarks.protocols.presets import preset_of

        labels = f"{settings.labels_per_class} labels per class" if settings.labels_per_class else "1000 labels"
        preset = preset_of(self.name, settings)
        return f"{labels}, as in {preset}" if preset else describe_nondefault(labels, settings, "labels_per_class")

    def batch_size_of(self, settings: TransferConfig) -> int:
        return settings.batch_size

    def noise_strength(self, settings: TransferConfig) -> float:
        return settings.beta

    def initializer_images(self, task: ImageTask, settings: TransferConfig, seed: int) -> ImageTask:
        return replace(task, train=task.train.class_balanced_subset(labels_per_class(settings, task), seed))


def labels_per_class(settings: TransferConfig, task: ImageTask) -> int:
    """Return the number of labelled images of each class: 1,000 in all unless the settings say another number."""
    return settings.labels_per_class or max(_HELD_OUT, 1000 // task.num_classes)


class _Labels(NamedTuple):
    """Labelled images: all of them, those that hyperparameters are tried on, and those that choose."""

    all: ImageSplit
    part: ImageSplit
    held_out: ImageSplit


def _split_labels(case: Case[ImageTask], settings: TransferConfig) -> _Labels:
    per_class, train = labels_per_class(settings, case.task), case.task.train
    labels = train.class_balanced_subset(per_class, case.seed)
    if settings.held_out == "val":
        return _Labels(labels, labels, case.task.val)
    count = per_class // _HELD_OUT
    part = train.class_balanced_subset(per_class - count, case.seed)
    return _Labels(labels, part, train.class_balanced_subset(count, case.seed, skip=per_class - count))


def _train_best(case: Case[ImageTask], settings: TransferConfig) -> tuple[Trained, float]:
    """Return the network that was trained on all labels as is best on held-out images, and its accuracy on these."""
    from benchmarks.training.search import train_copy

    labels = _split_labels(case, settings)
    best, best_accuracy, curves = None, -1.0, []
    for number, trial in enumerate(settings.trials()):
        trained = train_copy(case, labels.part, settings, trial, str(number))
        curves += trained.curve
        accuracy = trained.accuracy(labels.held_out.batches(case.evaluation_batch))[0]
        if accuracy > best_accuracy:
            best, best_accuracy = trained, accuracy
    assert best is not None  # there is one trial at least
    if labels.part is not labels.all:
        best = train_copy(case, labels.all, settings, best.trial, "all")
        curves += best.curve
    return replace(best, curve=curves), best_accuracy


def reset_classifier(model: nn.Module, num_classes: int) -> None:
    """Give the last layer with an output for each class PyTorch's random initialization.

    Raises:
        InputError: the network has no such layer.
    """
    from torch import nn

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and len(m.weight) == num_classes]
    if not layers:
        raise InputError(f"the network has no layer with {num_classes} outputs")
    layers[-1].reset_parameters()
