"""Protocol: how a network with given parameters becomes a row of results.

The command line lists all protocols, so this module and the files in `benchmarks/protocols` import torch, torchvision,
pandas and scipy in methods only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast
from typing import Protocol as Interface

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, EvaluationNetwork
from benchmarks.core.protocol_settings import has_type_of
from benchmarks.core.summaries import ACCURACY, Summary
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from benchmarks.training.job_folder import JobFolder
    from ghn_models.images.datasets import ImageTask

Result = dict[str, float | str]
"""Values by column."""

EVALUATION_BATCH = 64
_SMALLEST_BATCH = 8
ROW_COLUMNS = ("group", "index", "repeat", "name", "params", "status", "reason", "batch_size")


class Task(Interface):
    """Data of a protocol: an `ImageTask`, or what the protocol itself loads."""

    @property
    def name(self) -> str:
        """Name of the data set in records."""

    @property
    def num_classes(self) -> int:
        """Number of outputs of the networks."""

    def to(self, device: torch.device | str) -> Self:
        """Return the same data on a device."""

    def resized(self, size: int) -> Self:
        """Return the same data with images of another size, if networks decide it."""

    def hashes(self) -> dict[str, str | None]:
        """Return the sha256 of train, val and test, for records."""


TaskT = TypeVar("TaskT", bound=Task)
SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True, eq=False)
class Case(Generic[TaskT]):
    """A network to evaluate.

    Args:
        model: the network with the parameters that an initializer gave it, on the device of the images.
        task: the data, as the protocol loads them.
        batch_size: the batch size of the protocol, or a smaller one if memory was short.
        seed: seed of everything random; depends on the seed of the run, the network and the repetition.
        network: the network's group, index and name.
        scorer: function that scores the network, for protocols about scores.
        classifier_fits: whether the initializer made the classifier for these classes, so that it is a part of the
            method.
        running_statistics: whether the first parameters are those of a trained network, which has running statistics of
            batch norm; if not, batch norm uses the statistics of each batch unless the protocol trains.
        folder: folder for states of a training, curves and the trained network; None to keep none.
    """

    model: nn.Module
    task: TaskT
    batch_size: int
    seed: int
    network: EvaluationNetwork
    scorer: Callable[[Case[Any]], float]
    classifier_fits: bool = False
    running_statistics: bool = False
    folder: JobFolder | None = None

    @property
    def evaluation_batch(self) -> int:
        """Number of images whose statistics batch norm uses, the same in all protocols."""
        return min(EVALUATION_BATCH, self.batch_size)


class Protocol(ABC, Generic[SettingsT, TaskT]):
    """A measurement of initialized networks; each protocol has its file in `benchmarks/protocols`.

    The attributes describe the protocol; methods with a default are for protocols that need them.
    """

    name: ClassVar[str]
    """Value of --protocol, and the name of leaderboards/NAME.csv."""
    version: ClassVar[int] = 1
    """Raise it when results change, see `version_of`; records of another version are refused."""
    about: ClassVar[str]
    """One sentence for people."""
    settings_class: type[SettingsT]
    """Frozen dataclass of options, all with defaults."""
    later_settings: ClassVar[frozenset[str]] = frozenset()
    """Options that this version did not have at first. Records have them if they differ from their defaults, so that
    equal runs have equal names."""
    metrics: ClassVar[tuple[str, ...]] = ("top1", "top5")
    """Metrics of a group of networks; the first one ranks."""
    columns: ClassVar[tuple[str, ...]] = ()
    """Values that `evaluate` returns besides the metrics."""
    summary: ClassVar[Summary] = ACCURACY
    """Rule that computes metrics from results; by default accuracies, 0 to 1, are averaged."""
    default_groups: ClassVar[tuple[str, ...]] = EVALUATION_SPLITS
    """Groups of networks that --split all stands for."""
    batch_size: ClassVar[int] = EVALUATION_BATCH
    """Batch size of a case that fits into memory, unless settings say another one, see `batch_size_of`."""
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    """By column, the settings that list what its values may be."""
    repeats: ClassVar[int] = 1
    """Default number of seeds for each network."""
    min_networks: ClassVar[int] = 1
    """Smallest number of networks that a metric can be computed from."""
    needs_classifier: ClassVar[bool] = False
    """Predicted classifiers are used as they are, so the data set must have the classes of the GHN."""
    trains: ClassVar[bool] = False
    """Networks are trained, so there are curves and trained networks to keep."""
    accepts_scorers: ClassVar[bool] = False
    """--model may also be a proxy or a file of scores, see `benchmarks.scoring.scorers`."""
    tolerance: ClassVar[float] = 0.01
    """Largest difference of an accuracy that is measured again."""
    own_dataset: ClassVar[str | None] = None
    """Name of data that only this protocol uses; None for any images for classification."""

    @abstractmethod
    def evaluate(self, case: Case[TaskT], settings: SettingsT) -> Result:
        """Return the results of a network: its accuracy metrics and the other columns."""

    @abstractmethod
    def describe_settings(self, settings: SettingsT) -> str:
        """Return the settings as text for tables, see `describe_nondefault`."""

    @abstractmethod
    def load_task(self, dataset: str, data_dir: str | None, image_size: int) -> TaskT:
        """Load the data.

        Args:
            dataset: their name.
            data_dir: folder that the user gives, if any.
            image_size: that networks are built for.

        Raises:
            InputError: unknown or unusable data.
        """

    def initializer_images(self, task: TaskT, settings: SettingsT, seed: int) -> ImageTask | None:
        """Return the images that initializers may learn from; None if the data are not for classification."""
        return None

    def noise_strength(self, settings: SettingsT) -> float | None:
        """Return the strength of noise on predicted weights; None leaves it to the model."""
        return None

    def recorded_settings(self, settings: SettingsT) -> SettingsT:
        """Return the settings as records have them.

        Raises:
            InputError: a setting cannot be used.
        """
        return settings

    def settings_field(self, settings: SettingsT) -> dict[str, Any]:
        """Return what a record has of the settings; `read_settings` is the inverse."""
        defaults = asdict(self.settings_class())  # type: ignore[call-overload]
        recorded = asdict(self.recorded_settings(settings))  # type: ignore[call-overload]
        return {k: v for k, v in recorded.items() if k not in self.later_settings or v != defaults[k]}

    def check_groups(self, settings: SettingsT, groups: tuple[str, ...], from_files: bool = False) -> None:
        """Raise InputError if these settings do not suit these groups of networks.

        Args:
            settings: settings of the protocol.
            groups: names.
            from_files: networks of DeepNets-1M are read from files.
        """

    def known_value(self, settings: SettingsT, network: EvaluationNetwork) -> tuple[str, float] | None:
        """Return name and value of a column that depends on settings and network alone; None if there is none."""
        return None

    @property
    def accuracy_columns(self) -> tuple[str, ...]:
        """Metrics that every network has, 0 to 1."""
        return self.metrics if self.summary.per_network else ()

    @property
    def compared_columns(self) -> tuple[str, ...]:
        """Columns that are compared when a network is evaluated again."""
        return self.accuracy_columns or self.columns

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns of the table of networks."""
        return (*ROW_COLUMNS, *self.columns, *self.accuracy_columns)

    def version_of(self, settings: SettingsT, model: str) -> int:
        """Return the version of what is measured; records of another version are refused.

        Args:
            settings: settings of a run.
            model: its name in records. A change may concern some models or settings only.
        """
        return self.version

    def batch_size_of(self, settings: SettingsT) -> int:
        """Return the batch size of a case that fits into memory."""
        return self.batch_size

    def batch_sizes(self, settings: SettingsT) -> list[int]:
        """Return the batch sizes to try: the usual one, then halves of it for networks that do not fit into memory."""
        sizes = [self.batch_size_of(settings)]
        while sizes[-1] // 2 >= _SMALLEST_BATCH:
            sizes.append(sizes[-1] // 2)
        return sizes

    def default_image_size(self, dataset: str) -> int:
        """Return the image size that networks are built for unless the user gives one."""
        from ghn_models.images.datasets import usual_image_size

        return usual_image_size("imagenet" if self.own_dataset else dataset)

    def read_settings(self, recorded: dict[str, Any]) -> SettingsT:
        """Return the settings of a record, where tuples are lists.

        Raises:
            InputError: one is unknown, missing or out of range.
        """
        defaults = asdict(cast(Any, self.settings_class()))
        known = defaults.keys() - self.later_settings <= recorded.keys() <= defaults.keys()
        if not known or not all(has_type_of(value, defaults[name]) for name, value in recorded.items()):
            raise InputError(f"these are not settings of {self.name}, such as {defaults}")
        return self.settings_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()})


class ImageProtocol(Protocol[SettingsT, "ImageTask"]):
    """A protocol on images for classification."""

    def load_task(self, dataset: str, data_dir: str | None, image_size: int) -> ImageTask:
        from ghn_models.images.datasets import load_images

        return load_images(dataset, data_dir, image_size)

    def initializer_images(self, task: ImageTask, settings: SettingsT, seed: int) -> ImageTask | None:
        return task
