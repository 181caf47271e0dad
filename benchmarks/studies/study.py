"""Studies: analyses of a GHN whose results are tables and figures, not one row for each network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ghn_models import GHN
    from ghn_models.images.datasets import ImageTask

Tables = dict[str, "pd.DataFrame"]
"""Tables by the name of their file."""
SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True, eq=False)
class StudyCase:
    """A GHN to study.

    Args:
        name: name of the GHN in tables.
        ghn: the GHN, in evaluation mode.
        seed: seed of everything random.
        image_size: image size of the networks, 32 or 224.
        orth_layer: first layer that is made orthogonal, where predicted weights are.
        folder: folder of the study, for measurements that have to outlive an interruption.
        images: images that networks see; None if the study needs none.
    """

    name: str
    ghn: GHN
    seed: int
    image_size: int
    orth_layer: int
    folder: Path
    images: ImageTask | None


@dataclass(frozen=True, eq=False)
class Findings:
    """Results of a study: tables and pictures by the names of their files."""

    tables: Tables
    figures: dict[str, Figure] = field(default_factory=dict)


class Study(ABC, Generic[SettingsT]):
    """A study of a GHN; its code is in one file in `benchmarks/studies`."""

    name: ClassVar[str]
    """Value of --protocol."""
    version: ClassVar[int] = 1
    """To be raised with every change of what is measured."""
    about: ClassVar[str]
    """One sentence for people."""
    settings_class: type[SettingsT]
    """Frozen dataclass of options, all with defaults."""
    options: ClassVar[tuple[str, ...]] = ()
    """Options of `benchmarks.run` that it has besides those of all studies; it gets images if dataset is one."""

    @abstractmethod
    def run(self, case: StudyCase, settings: SettingsT) -> Findings:
        """Compute tables and pictures.

        Raises:
            InputError: settings that cannot be used.
        """

    @abstractmethod
    def summarize(self, tables: Tables) -> str:
        """Return the tables as text for people."""

    def input_files(self, settings: SettingsT) -> list[Path]:
        """Return the files that the results depend on."""
        return []
