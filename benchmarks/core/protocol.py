"""What a protocol is: how a network with its first parameters becomes a line of results."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Generic, Self, TypeVar
from typing import Protocol as Interface

import torch
from torch import nn

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, EvaluationNetwork
from benchmarks.core.summaries import ACCURACY, Summary
from ghn_models.images.datasets import ImageTask, load_images, usual_image_size

Result = dict[str, float | str]
"""Values by column."""

EVALUATION_BATCH = 64
_SMALLEST_BATCH = 8
ROW_COLUMNS = ("group", "index", "repeat", "name", "params", "status", "reason", "batch_size")


class Task(Interface):
    """The data of a protocol: an `ImageTask`, or what the protocol itself loads."""

    @property
    def name(self) -> str:
        """Of the data set, in records."""

    @property
    def num_classes(self) -> int:
        """Outputs of the networks."""

    def to(self, device: torch.device | str) -> Self:
        """The same data on a device."""

    def hashes(self) -> dict[str, str | None]:
        """sha256 of train, val and test, for records."""


TaskType = TypeVar("TaskType", bound=Task)


@dataclass(frozen=True, eq=False)
class Case(Generic[TaskType]):
    """A network to evaluate.

    Args:
        model: the network with the parameters that an initializer gave it, on the device of the images.
        task: data, as the protocol loads them.
        batch_size: of the protocol, or less if memory was short.
        seed: of everything random; depends on the run's seed, the network and the repetition.
        network: which network it is.
        scorer: what scores it, if the protocol is about scores.
        classifier_fits: the classifier was initialised for these classes, and belongs to the initialisation.
    """

    model: nn.Module
    task: TaskType
    batch_size: int
    seed: int
    network: EvaluationNetwork
    scorer: "Callable[[Case], float]"
    classifier_fits: bool = False

    @property
    def evaluation_batch(self) -> int:
        """Images whose statistics batch norm uses, the same in all protocols."""
        return min(EVALUATION_BATCH, self.batch_size)


@dataclass(frozen=True, eq=False)
class Protocol:
    """How networks are evaluated; one file in `benchmarks/protocols` each.

    Args:
        name: as in --protocol and leaderboards/NAME.csv.
        version: to be raised with every change of what is measured; records of another version are refused.
        about: one sentence for people.
        settings: dataclass of options, all with defaults.
        setting: what the table says of the options, see `described`.
        evaluate: results of a network.
        metrics: what is said of a group of networks; the first one ranks.
        columns: values that `evaluate` returns besides.
        summary: how metrics come from results; usually they are accuracies, 0 to 1, that are averaged.
        groups: networks that are evaluated by default.
        batch_size: of the case.
        repeats: seeds for each network by default.
        fewest: networks that say anything.
        needs_classifier: it uses predicted classifiers, so the data set must have the classes of the GHN.
        beta: strength of noise on predicted weights, or None where that is up to the model.
        seen: the images that initialisers which learn may see, from those of the task, the settings and the seed.
        scores: models may be proxies or files of scores, too, see `benchmarks.scoring.scorers`.
        recorded: checks settings, and makes them such as they are recorded.
        check_groups: raises ValueError if settings do not suit networks of these groups.
        known: the column of results that follows from settings and networks alone, if any, and its value for a
            network.
        tolerance: by how much an accuracy may differ when it is measured again.
        load: the data, from their name, the folder that the user gives and the size of images; ValueError if they
            cannot be used.
        dataset: the name of data that only this protocol uses; else any images for classification.
    """

    name: str
    version: int
    about: str
    settings: type
    setting: Callable[[Any], str]
    evaluate: Callable[[Case, Any], Result]
    metrics: tuple[str, ...] = ("top1", "top5")
    columns: tuple[str, ...] = ()
    summary: Summary = ACCURACY
    groups: tuple[str, ...] = EVALUATION_SPLITS
    batch_size: int = EVALUATION_BATCH
    repeats: int = 1
    fewest: int = 1
    needs_classifier: bool = False
    beta: Callable[[Any], float | None] = lambda settings: None
    seen: Callable[[ImageTask, Any, int], ImageTask] = lambda task, settings, seed: task
    scores: bool = False
    recorded: Callable[[Any], Any] = lambda settings: settings
    check_groups: Callable[[Any, tuple[str, ...]], None] = lambda settings, groups: None
    known: Callable[[Any, EvaluationNetwork], tuple[str, float] | None] = lambda settings, network: None
    tolerance: float = 0.01
    load: Callable[[str, str | None, int], Task] = load_images
    dataset: str | None = None

    @property
    def accuracies(self) -> tuple[str, ...]:
        """Metrics that every network has, 0 to 1."""
        return self.metrics if self.summary.per_network else ()

    @property
    def batch_sizes(self) -> list[int]:
        """The usual one, and its halves for networks that do not fit into memory."""
        sizes = [self.batch_size]
        while sizes[-1] // 2 >= _SMALLEST_BATCH:
            sizes.append(sizes[-1] // 2)
        return sizes

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns that are compared when a network is evaluated again."""
        return self.accuracies or self.columns

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns of the table of networks."""
        return (*ROW_COLUMNS, *self.columns, *self.accuracies)

    def image_size(self, dataset: str) -> int:
        """What networks are built for if nothing else is said."""
        return usual_image_size("imagenet" if self.dataset else dataset)

    def read_settings(self, recorded: dict[str, Any]) -> Any:
        """Settings as a record has them, where tuples are lists."""
        return self.settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()})


def require(name: str, value: float | tuple[float, ...], fits: Callable[[float], bool], accepted: str) -> None:
    """Raise ValueError if a setting does not fit, or one of its several values, or if there is none, or one twice."""
    values = value if isinstance(value, tuple) else (value,)
    given = f"{name} is {' '.join(map(str, values)) or 'empty'}"
    if not (values and all(map(fits, values))):
        raise ValueError(f"{given}; accepted: {accepted}")
    if len(set(values)) < len(values):
        raise ValueError(f"{given}; each value is accepted once")


def positive(value: float) -> bool:
    """Whether it is above 0 and finite."""
    return 0 < value < float("inf")


def not_negative(value: float) -> bool:
    """Whether it is 0 or more and finite."""
    return 0 <= value < float("inf")


def count(number: float, noun: str) -> str:
    """0.1 epoch, 1 epoch, 10 epochs."""
    return f"{number:g} {noun}{'s' * (number > 1)}"


def described(text: str, settings: Any, *told: str) -> str:
    """What a table says of settings: a text, and all but the `told` ones that are not as usual."""
    others = [f for f in fields(settings) if f.name not in told and getattr(settings, f.name) != f.default]
    return ", ".join(filter(None, [text, *(f"{f.name} {_plain(getattr(settings, f.name))}" for f in others)]))


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
