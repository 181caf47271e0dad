"""Accuracy on a task with few labels, with a new classifier (DeepNets paper, section 5.3; GHN-3 paper, section 5.3)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.core.protocol import Case, ImageProtocol, Result
from benchmarks.core.protocol_settings import check_setting, describe_nondefault, is_nonnegative, is_positive
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from ghn_models.images.datasets import ImageTask
    from ghn_models.images.splits import ImageSplit

_HELD_OUT = 5  # every fifth label is for choosing learning rate and weight decay


@dataclass(frozen=True)
class TransferConfig:
    """Transfer.

    Args:
        labels_per_class: training images of each class; the GHN-3 paper has 1000 in all, so 10 for CIFAR-100.
        epochs: number of training epochs.
        lrs: learning rates; each network gets the pair with a weight decay that is best on a fifth of the labels.
        weight_decays: weight decays to try; each network gets the best pair of learning rate and weight decay.
        beta: for GHNs: strength of the noise on predicted weights, which makes equal channels different; 3e-5 in the
            GHN-orth paper, for weights that are made orthogonal.
    """

    labels_per_class: int = 100
    epochs: int = 50
    lrs: tuple[float, ...] = (0.1, 0.03, 0.01)
    weight_decays: tuple[float, ...] = (1e-4, 1e-2)
    beta: float = 1e-5

    def __post_init__(self) -> None:
        check_setting(
            "transfer.labels_per_class", self.labels_per_class, lambda n: n >= _HELD_OUT, f"{_HELD_OUT} or more"
        )
        check_setting("transfer.epochs", self.epochs, lambda n: n >= 1, "1 or more")
        check_setting("transfer.lrs", self.lrs, is_positive, "one or more learning rates above 0")
        check_setting(
            "transfer.weight_decays", self.weight_decays, lambda w: 0 <= w < 1, "one or more numbers from 0 to below 1"
        )
        check_setting("transfer.beta", self.beta, is_nonnegative, "0 or more")


class Transfer(ImageProtocol[TransferConfig]):
    """Test accuracy after training all of the network on few labels.

    The classifier is a new one, with PyTorch's initialization, unless the initializer makes classifiers for these
    classes (He, FixUp, GradInit, MetaInit). SGD with momentum 0.9 and a cosine schedule; learning rate and weight decay
    are chosen with a fifth of the labels held out, and the network is then trained on all of them. The labels depend on
    the seed. If the losses of this last training are not finite, accuracies are 0.
    """

    name = "transfer"
    about = "accuracy after training on few labels of another data set, which starts from the first parameters"
    settings_class = TransferConfig
    columns = ("lr", "weight_decay", "val_top1")
    default_groups = ("resnet50", "vit", "darts", "convnext_base", "swin_t")
    batch_size = 96
    repeats = 3
    tolerance = 0.04

    def evaluate(self, case: Case[ImageTask], settings: TransferConfig) -> Result:
        from benchmarks.core.accuracy import topk_accuracy
        from benchmarks.core.ensemble import members
        from benchmarks.core.sgd import seed_device

        seed_device(case.model, case.seed)
        for member in () if case.classifier_fits else members(case.model):
            reset_classifier(member, case.task.num_classes)
        count = settings.labels_per_class // _HELD_OUT
        labels = case.task.train.class_balanced_subset(settings.labels_per_class, case.seed)
        part = case.task.train.class_balanced_subset(settings.labels_per_class - count, case.seed)
        held_out = case.task.train.class_balanced_subset(count, case.seed, skip=settings.labels_per_class - count)
        trials = []
        for lr, weight_decay in product(settings.lrs, settings.weight_decays):
            model, finite = _train(case, part, settings.epochs, lr, weight_decay)
            accuracy = topk_accuracy(model, held_out.batches(case.evaluation_batch))[0] if finite else 0.0
            trials.append((accuracy, lr, weight_decay))
        accuracy, lr, weight_decay = max(trials, key=lambda trial: trial[0])
        model, finite = _train(case, labels, settings.epochs, lr, weight_decay)
        top1, top5 = topk_accuracy(model, case.task.test.batches(case.evaluation_batch)) if finite else (0.0, 0.0)
        return {"lr": lr, "weight_decay": weight_decay, "val_top1": accuracy, "top1": top1, "top5": top5}

    def describe_settings(self, settings: TransferConfig) -> str:
        return describe_nondefault(f"{settings.labels_per_class} labels per class", settings, "labels_per_class")

    def noise_strength(self, settings: TransferConfig) -> float:
        return settings.beta

    def initializer_images(self, task: ImageTask, settings: TransferConfig, seed: int) -> ImageTask:
        return replace(task, train=task.train.class_balanced_subset(settings.labels_per_class, seed))


def _train(
    case: Case[ImageTask], images: ImageSplit, epochs: int, lr: float, weight_decay: float
) -> tuple[nn.Module, bool]:
    """Return a trained copy of the network, and whether all losses were finite."""
    from benchmarks.core.ensemble import members
    from benchmarks.core.sgd import fine_tune

    model = deepcopy(case.model)
    options = (images, epochs, case.batch_size, lr, weight_decay, case.seed, case.task.flip)
    return model, all(fine_tune(member, *options, decay=True) for member in members(model))


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
