"""What a protocol is: how a network with its first parameters becomes a line of results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar
from typing import Protocol as Interface

import torch
from torch import nn

from benchmarks.networks import EVALUATION_SPLITS
from ghn_models.images import load_images

Result = dict[str, float | str]
"""Values by column."""


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
    """

    model: nn.Module
    task: TaskType
    batch_size: int
    seed: int


@dataclass(frozen=True, eq=False)
class Protocol:
    """How networks are evaluated; one file in `benchmarks/protocols` each.

    Args:
        name: as in --protocol and leaderboards/NAME.csv.
        version: to be raised with every change of what is measured; records of another version are refused.
        about: one sentence for people.
        settings: dataclass of options, all with defaults.
        setting: what the table says of the options.
        evaluate: results of a network.
        metrics: accuracies, 0 to 1, that are averaged; the first one ranks.
        columns: other values that `evaluate` returns.
        groups: networks that are evaluated by default.
        batch_size: of the case.
        repeats: seeds for each network by default.
        needs_classifier: it uses predicted classifiers, so the data set must have the classes of the GHN.
        beta: strength of noise on predicted weights.
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
    groups: tuple[str, ...] = EVALUATION_SPLITS
    batch_size: int = 64
    repeats: int = 1
    needs_classifier: bool = False
    beta: Callable[[Any], float] = lambda settings: 0.0
    tolerance: float = 0.01
    load: Callable[[str, str | None, int], Task] = load_images
    dataset: str | None = None

    def read_settings(self, recorded: dict[str, Any]) -> Any:
        """Settings as a record has them, where tuples are lists."""
        return self.settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()})
