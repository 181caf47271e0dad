"""What a protocol is: how a network with its first parameters becomes a line of results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.networks import EVALUATION_SPLITS
from ghn_models.images import ImageTask

Result = dict[str, float | str]
"""Values by column."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network to evaluate.

    Args:
        model: the network with the parameters that an initializer gave it, on the device of the images.
        task: images.
        batch_size: of the protocol, or less if memory was short.
        seed: of everything random; depends on the run's seed, the network and the repetition.
    """

    model: nn.Module
    task: ImageTask
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

    def read_settings(self, recorded: dict[str, Any]) -> Any:
        """Settings as a record has them, where tuples are lists."""
        return self.settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()})
