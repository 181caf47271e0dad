"""What a study is: questions about a GHN whose answers are tables and pictures, not one line for each network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ghn_models import GHN
from ghn_models.images.datasets import ImageTask

Tables = dict[str, pd.DataFrame]
"""Tables by the name of their file."""


@dataclass(frozen=True, eq=False)
class Case:
    """A GHN to study.

    Args:
        name: what it is called in tables.
        ghn: in evaluation mode.
        seed: of everything random.
        image_size: of the networks, 32 or 224.
        orth_layer: the first layer that is made orthogonal where predicted weights are.
        folder: for what is measured and has to outlive an interruption.
        images: what the networks see; None if the study needs none.
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
    """What a study found: tables, and pictures by the name of their file."""

    tables: Tables
    figures: dict[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Study:
    """One file in `benchmarks/studies` each.

    Args:
        name: as in --protocol.
        version: to be raised with every change of what is measured.
        about: one sentence for people.
        settings_class: dataclass of options, all with defaults.
        run: the study; raises ValueError for settings that cannot be used.
        summary: the tables as text for people.
        inputs: files that the results depend on.
        options: of `benchmarks.run` that it uses besides those of all studies; it has images if dataset is among them.
    """

    name: str
    version: int
    about: str
    settings_class: type
    run: Callable[[Case, Any], Findings]
    summary: Callable[[Tables], str]
    inputs: Callable[[Any], list[Path]] = lambda settings: []
    options: tuple[str, ...] = ()
