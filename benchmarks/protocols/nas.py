"""How well a score ranks networks by their quality after training (GHN-3 paper, section A.4; DeepNets paper, 5.3).

Kendall's tau between the score of each network and the truth: its accuracy after training from random initialisation,
published (PyTorch-74), measured here, or in a file. Within each group and over all of them: pooled correlations are
mostly about differences between groups.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
import torch

from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.ensemble import members
from benchmarks.core.evaluation_networks import GLOBAL_RNG_LOCK, EvaluationNetwork, networks_in
from benchmarks.core.protocol import Case, Protocol, Result, count, described, positive, require
from benchmarks.core.sgd import fine_tune
from benchmarks.core.summaries import CORRELATION
from benchmarks.initializers.base import recordable
from benchmarks.published_results.per_network import load
from benchmarks.scoring.scorers import column_of
from ghn_models.checkpoints import folder as checkpoints

_TRAINING, _PUBLISHED = "training", "published"
_GROUP = "torchvision74"
_BATCH = 128
_WEIGHT_DECAY = 3e-5


@dataclass(frozen=True)
class NasConfig:
    """What the truth is.

    Args:
        truth: "published" is the ImageNet accuracy of torchvision's weights, for torchvision74; "training" trains each
            network here; else a CSV file with the columns group, index and truth, or top1 as tables of other runs.
        epochs: number of training epochs, if networks are trained here.
        lr: learning rate of that training.
    """

    truth: str = _PUBLISHED
    epochs: float = 10.0
    lr: float = 0.04

    def __post_init__(self) -> None:
        if self.truth != _TRAINING and (self.epochs, self.lr) != (NasConfig.epochs, NasConfig.lr):
            raise ValueError(f"nas.epochs and nas.lr are for --nas.truth {_TRAINING}, not {self.truth}")
        require("nas.epochs", self.epochs, positive, "above 0")
        require("nas.lr", self.lr, positive, "above 0")


def evaluate(case: Case, settings: NasConfig) -> Result:
    """Score of a network with the parameters that it was given, and its truth.

    Training is SGD with momentum 0.9, a cosine schedule, weight decay 3e-5 and batches of 128 images, from PyTorch's
    initialisation; the truth is the accuracy on test images.
    """
    score = case.scorer(case)
    if settings.truth == _TRAINING:
        return {"score": score, "truth": _trained(case, settings)}
    known = _known(settings.truth)
    key = (case.network.group, case.network.index)
    if key not in known.index:
        raise ValueError(f"{Path(settings.truth).name} has no truth for it")
    return {"score": score, "truth": float(known[key])}


def _trained(case: Case, settings: NasConfig) -> float:
    with GLOBAL_RNG_LOCK:
        torch.default_generator.manual_seed(case.seed)
        model, _ = case.network.build(case.task.train.size, case.task.num_classes)
    model = model.to(next(case.model.parameters()).device)
    options = (min(_BATCH, case.batch_size), settings.lr, _WEIGHT_DECAY, case.seed, case.task.flip)
    finite = all(fine_tune(member, case.task.train, settings.epochs, *options, decay=True) for member in members(model))
    return topk_accuracy(model, case.task.test.batches(case.evaluation_batch))[0] if finite else 0.0


@cache
def _known(truth: str) -> pd.Series:
    """Truth by group and index."""
    if truth != _PUBLISHED:
        return column_of(Path(truth), ("truth", "top1"))
    table = load(_GROUP)
    trained = table[(table["method"] == "RANDINIT") & (table["protocol"] == "sota")].set_index("arch")["top1"]
    return pd.Series({(_GROUP, s.index): trained[s.name] for s in networks_in(_GROUP)})


def published_truth(settings: NasConfig, network: EvaluationNetwork) -> tuple[str, float] | None:
    """The column truth of a network, if it is published."""
    return ("truth", float(_known(_PUBLISHED)[network.group, network.index])) if settings.truth == _PUBLISHED else None


def is_file_of_truth(truth: str) -> bool:
    """Whether the truth is in a file, by its name in settings or in a record."""
    return truth not in ("", _TRAINING, _PUBLISHED)


def check(settings: NasConfig) -> NasConfig:
    """NasConfig for a record: a file is known by its name and hash, not by where it is.

    Raises:
        ValueError: the file cannot be used.
    """
    if not is_file_of_truth(settings.truth):
        return settings
    if not Path(settings.truth).is_file():
        raise ValueError(f"nas.truth is {settings.truth!r}; accepted: {_PUBLISHED}, {_TRAINING} or a CSV file")
    _known(settings.truth)
    path = Path(settings.truth)
    return replace(settings, truth=f"{recordable(path.name)[-80:]} {checkpoints.sha256(path)[:16]}")


def check_groups(settings: NasConfig, groups: tuple[str, ...]) -> None:
    """Raise ValueError if there are networks without a published truth, and it is wanted."""
    others = [group for group in groups if group != _GROUP]
    if settings.truth == _PUBLISHED and others:
        raise ValueError(
            f"there are published accuracies of {_GROUP} only, not of {', '.join(others)}; --nas.truth training trains "
            "each network here, and --nas.truth FILE.csv reads the truth"
        )


def _setting(settings: NasConfig) -> str:
    if settings.truth == _PUBLISHED:
        return "ImageNet accuracy of torchvision's weights"
    if settings.truth != _TRAINING:
        return f"truth of {settings.truth}"
    return described(f"trained for {count(settings.epochs, 'epoch')}", settings, "truth", "epochs")


PROTOCOL = Protocol(
    name="nas",
    version=1,
    about="rank correlation (Kendall's tau) between a score and accuracy after training, for architecture search",
    settings=NasConfig,
    setting=_setting,
    evaluate=evaluate,
    groups=(_GROUP,),
    metrics=("tau",),
    columns=("score", "truth"),
    summary=CORRELATION,
    batch_size=_BATCH,
    fewest=3,
    needs_classifier=True,
    scores=True,
    recorded=check,
    check_groups=check_groups,
    known=published_truth,
    tolerance=0.04,
)
