"""Accuracy on a task with few labels, with a new classifier (DeepNets paper, section 5.3; GHN-3 paper, section 5.3)."""

from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product

from torch import nn

from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.ensemble import members
from benchmarks.core.protocol import Case, Protocol, Result, described, not_negative, positive, require
from benchmarks.core.sgd import fine_tune, seed_device
from ghn_models.images.datasets import ImagePart

_HELD_OUT = 5  # every fifth label is for choosing learning rate and weight decay


@dataclass(frozen=True)
class TransferConfig:
    """Transfer.

    Args:
        labels_per_class: training images of each class; the GHN-3 paper has 1000 in all, so 10 for CIFAR-100.
        epochs: number of training epochs.
        lrs: learning rates; each network gets the pair with a weight decay that is best on a fifth of the labels.
        weight_decays: of these each network gets the one that is best, together with its learning rate.
        beta: for GHNs: strength of the noise on predicted weights, which makes equal channels different; 3e-5 in the
            GHN-orth paper, for weights that are made orthogonal.
    """

    labels_per_class: int = 100
    epochs: int = 50
    lrs: tuple[float, ...] = (0.1, 0.03, 0.01)
    weight_decays: tuple[float, ...] = (1e-4, 1e-2)
    beta: float = 1e-5

    def __post_init__(self) -> None:
        require("transfer.labels_per_class", self.labels_per_class, lambda n: n >= _HELD_OUT, f"{_HELD_OUT} or more")
        require("transfer.epochs", self.epochs, lambda n: n >= 1, "1 or more")
        require("transfer.lrs", self.lrs, positive, "one or more learning rates above 0")
        require(
            "transfer.weight_decays", self.weight_decays, lambda w: 0 <= w < 1, "one or more numbers from 0 to below 1"
        )
        require("transfer.beta", self.beta, not_negative, "0 or more")


def evaluate(case: Case, settings: TransferConfig) -> Result:
    """Test accuracy after training all of the network on few labels.

    The classifier is a new one, with PyTorch's initialisation, unless the initialisation makes classifiers for these
    classes (He, FixUp, GradInit, MetaInit). SGD with momentum 0.9 and a cosine schedule; learning rate and weight decay
    are chosen with a fifth of the labels held out, and the network is then trained on all of them. The labels depend on
    the seed. If the losses of this last training are not finite, accuracies are 0.
    """
    seed_device(case.model, case.seed)
    for member in () if case.classifier_fits else members(case.model):
        new_classifier(member, case.task.num_classes)
    count = settings.labels_per_class // _HELD_OUT
    labels = case.task.train.few(settings.labels_per_class, case.seed)
    part = case.task.train.few(settings.labels_per_class - count, case.seed)
    held_out = case.task.train.few(count, case.seed, skip=settings.labels_per_class - count)

    def train(images: ImagePart, lr: float, weight_decay: float) -> tuple[nn.Module, bool]:
        model = deepcopy(case.model)
        options = (images, settings.epochs, case.batch_size, lr, weight_decay, case.seed, case.task.flip)
        return model, all(fine_tune(member, *options, decay=True) for member in members(model))

    tried = []
    for lr, weight_decay in product(settings.lrs, settings.weight_decays):
        model, finite = train(part, lr, weight_decay)
        tried.append(
            (topk_accuracy(model, held_out.batches(case.evaluation_batch))[0] if finite else 0.0, lr, weight_decay)
        )
    accuracy, lr, weight_decay = max(tried, key=lambda pair: pair[0])
    model, finite = train(labels, lr, weight_decay)
    top1, top5 = topk_accuracy(model, case.task.test.batches(case.evaluation_batch)) if finite else (0.0, 0.0)
    return {"lr": lr, "weight_decay": weight_decay, "val_top1": accuracy, "top1": top1, "top5": top5}


def new_classifier(model: nn.Module, num_classes: int) -> None:
    """Give the last layer with an output for each class its random initialisation.

    Raises:
        ValueError: there is none.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and len(m.weight) == num_classes]
    if not layers:
        raise ValueError(f"the network has no layer with {num_classes} outputs")
    layers[-1].reset_parameters()


PROTOCOL = Protocol(
    name="transfer",
    version=1,
    about="accuracy after training on few labels of another data set, which starts from the first parameters",
    settings=TransferConfig,
    setting=lambda settings: described(f"{settings.labels_per_class} labels per class", settings, "labels_per_class"),
    evaluate=evaluate,
    columns=("lr", "weight_decay", "val_top1"),
    groups=("resnet50", "vit", "darts", "convnext_base", "swin_t"),
    batch_size=96,
    repeats=3,
    beta=lambda settings: settings.beta,
    seen=lambda task, settings, seed: replace(task, train=task.train.few(settings.labels_per_class, seed)),
    tolerance=0.04,
)
