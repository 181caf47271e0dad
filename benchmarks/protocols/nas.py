"""Rank correlation of a score with the accuracy of trained networks (GHN-3 paper, section A.4; DeepNets paper, 5.3).

Kendall's tau between the score of each network and its truth: the accuracy after training from a random
initialization, which is published (PyTorch-74), measured here, or read from a file. There is one tau for each group and
one for all networks, which mostly reflects differences between groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.core.evaluation_networks import GLOBAL_RNG_LOCK, EvaluationNetwork
from benchmarks.core.model_names import is_trained
from benchmarks.core.protocol import Case, ImageProtocol, Result
from benchmarks.core.protocol_settings import check_setting, describe_nondefault, format_count, is_positive
from benchmarks.core.summaries import CORRELATION
from deepnets.sampling.splits import SPACE_SPLITS
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from ghn_models.images.datasets import ImageTask

_TRAINING, _PUBLISHED = "training", "published"
_GROUP = "torchvision74"
_BATCH = 128
_WEIGHT_DECAY = 3e-5


@dataclass(frozen=True)
class NasConfig:
    """Settings of nas: the truth that scores are compared with.

    Args:
        truth: "published" takes the accuracy of torchvision's ImageNet weights (torchvision74) or the published
            accuracy (splits of trained architectures); the name of another column of such a split, such as
            cifar100_test, takes that column; sgd_1ep takes ImageNet accuracy after 1 epoch (torchvision74);
            cifar10_sgd_50ep and imagenet_sgd_1ep are for the published networks of DeepNets-1M (--networks-from);
            "training" trains each network here; anything else is a CSV file with the columns group, index and truth
            (or top1, as in tables of other runs).
        epochs: number of training epochs, if networks are trained here.
        lr: learning rate of that training.
    """

    truth: str = _PUBLISHED
    epochs: float = 10.0
    lr: float = 0.04

    def __post_init__(self) -> None:
        if self.truth != _TRAINING and (self.epochs, self.lr) != (NasConfig.epochs, NasConfig.lr):
            raise InputError(f"nas.epochs and nas.lr are for --nas.truth {_TRAINING}, not {self.truth}")
        check_setting("nas.epochs", self.epochs, is_positive, "above 0")
        check_setting("nas.lr", self.lr, is_positive, "above 0")


class Nas(ImageProtocol[NasConfig]):
    """Score of a network with the parameters that it was given, and its truth.

    Training is SGD with momentum 0.9, a cosine schedule, weight decay 3e-5 and batches of 128 images, from PyTorch's
    initialization; the truth is the accuracy on test images.
    """

    name = "nas"
    about = "rank correlation (Kendall's tau) between a score and accuracy after training, for architecture search"
    settings_class = NasConfig
    metrics = ("tau",)
    columns = ("score", "truth")
    summary = CORRELATION
    default_groups = (_GROUP,)
    batch_size = _BATCH
    min_networks = 3
    needs_classifier = True
    accepts_scorers = True
    tolerance = 0.04

    def evaluate(self, case: Case[ImageTask], settings: NasConfig) -> Result:
        from benchmarks.published_results.truths import check_is_published, published_truth

        score = case.scorer(case)
        if settings.truth == _TRAINING:
            return {"score": score, "truth": _trained_accuracy(case, settings)}
        if not is_truth_file(settings.truth):
            check_is_published(settings.truth, case.network)
            return {"score": score, "truth": published_truth(settings.truth, case.network)}
        truths = _read_truth_file(settings.truth)
        key = (case.network.group, case.network.index)
        if key not in truths.index:
            raise InputError(f"{Path(settings.truth).name} has no truth for it")
        return {"score": score, "truth": float(truths[key])}

    def version_of(self, settings: NasConfig, model: str) -> int:
        """Return 2 where trained networks are scored with running statistics of batch norm, as they were not before."""
        return 2 if settings.truth == _TRAINING or is_trained(model) else 1

    def describe_settings(self, settings: NasConfig) -> str:
        if settings.truth == _PUBLISHED:
            return "published accuracy"
        if not is_truth_file(settings.truth) and settings.truth != _TRAINING:
            return f"published {settings.truth}"
        if settings.truth != _TRAINING:
            return f"truth of {settings.truth}"
        text = f"trained for {format_count(settings.epochs, 'epoch')}"
        return describe_nondefault(text, settings, "truth", "epochs")

    def recorded_settings(self, settings: NasConfig) -> NasConfig:
        """Return the settings for a record: a file is known by its name and hash, not by where it is."""
        from benchmarks.initializers.base import recordable
        from ghn_models.checkpoints import folder as checkpoints

        if not is_truth_file(settings.truth):
            return settings
        path = Path(settings.truth).expanduser()
        if not path.is_file():
            raise InputError(
                f"nas.truth is {settings.truth!r}; accepted: {_PUBLISHED}, {_TRAINING}, a column of the published "
                "values or a CSV file"
            )
        _read_truth_file(settings.truth)
        return replace(settings, truth=f"{recordable(path.name)[-80:]} {checkpoints.sha256(path)[:16]}")

    def check_groups(self, settings: NasConfig, groups: tuple[str, ...], from_files: bool = False) -> None:
        """Raise InputError if the truth is the published one and a group has none."""
        from benchmarks.published_results.truths import truth_names

        if settings.truth == _TRAINING or is_truth_file(settings.truth):
            return
        others = [group for group in groups if not truth_names(group, from_files)]
        if others:
            raise InputError(
                f"there are no published accuracies of {', '.join(others)}, but of "
                f"{', '.join((_GROUP, *SPACE_SPLITS))}, and of the published networks of DeepNets-1M "
                "(--networks-from FOLDER); --nas.truth training trains each network here, and --nas.truth FILE.csv "
                "reads the truth"
            )
        for group in groups:
            names = truth_names(group, from_files)
            if settings.truth not in names:
                raise InputError(f"nas.truth is {settings.truth!r}; accepted for {group}: {', '.join(names)}")

    def known_value(self, settings: NasConfig, network: EvaluationNetwork) -> tuple[str, float] | None:
        """Return the column truth and its value if it is published."""
        if settings.truth == _TRAINING or is_truth_file(settings.truth):
            return None
        from benchmarks.published_results.truths import published_truth

        return "truth", published_truth(settings.truth, network)


def is_truth_file(truth: str) -> bool:
    """Return whether the truth, as settings or a record have it, is a file."""
    from benchmarks.published_results.truths import is_truth_name

    return truth not in ("", _TRAINING) and not is_truth_name(truth)


def _trained_accuracy(case: Case[ImageTask], settings: NasConfig) -> float:
    import torch

    from benchmarks.training.config import TrainingConfig, Trial
    from benchmarks.training.search import train_in_place

    with GLOBAL_RNG_LOCK:
        torch.default_generator.manual_seed(case.seed)
        model, _ = case.network.build(case.task.train.size, case.task.num_classes)
    model = model.to(next(case.model.parameters()).device)
    trial = Trial("sgd", settings.epochs, settings.lr, _WEIGHT_DECAY)
    trained = train_in_place(model, case, case.task.train, TrainingConfig(_BATCH, "cosine"), trial)
    return trained.accuracy(case.task.test.batches(case.evaluation_batch))[0]


@cache
def _read_truth_file(path: str) -> pd.Series:
    """Return the truth by group and index."""
    from benchmarks.scoring.scorers import read_column

    return read_column(Path(path), ("truth", "top1"))
