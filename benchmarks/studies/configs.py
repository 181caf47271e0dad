"""Options of the studies. The command line lists them, so this module imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from benchmarks.core.cli_options import unset
from benchmarks.core.evaluation_networks import PREDEFINED, check_group, networks_in
from deepnets.sampling.splits import SPLITS
from deepnets.utils.errors import InputError


@dataclass(frozen=True)
class AnalysisConfig:
    """Settings of the study `analysis`: the networks that it compares.

    Args:
        train: number of networks of train that the splits are compared with; 5000 in the paper (section C.2.4).
        num: number of networks of each other split, the first ones; by default all.
        shape: (out, in, height, width) of the weights whose diversity is measured.
        networks: names of single networks whose layers are analyzed.
        beta: strength of the noise on predicted weights before they are made orthogonal, as in GHN-orth.
    """

    train: int = 5000
    num: Annotated[int | None, unset("INT")] = None
    shape: tuple[int, int, int, int] = (128, 1, 3, 3)
    networks: tuple[str, ...] = PREDEFINED
    beta: float = 3e-5

    def __post_init__(self) -> None:
        most = SPLITS["train"].size - SPLITS["test"].size
        if not 2 <= self.train <= most:
            raise InputError(f"analysis.train is {self.train}; accepted: 2 to {most}")
        if self.num is not None and not 2 <= self.num <= SPLITS["test"].size:
            raise InputError(f"analysis.num is {self.num}; accepted: 2 to {SPLITS['test'].size}")
        if len(self.shape) != 4 or min(self.shape) < 1:
            raise InputError(f"analysis.shape is {self.shape}; accepted: four numbers (out, in, height, width)")
        if not 0 < self.beta < float("inf"):
            raise InputError(f"analysis.beta is {self.beta}; it must be a finite number above 0")
        for name in set(self.networks).difference(PREDEFINED):
            check_group(name)
            if len(networks_in(name)) > 1:
                raise InputError(f"analysis.networks has {name}, which is several networks; name single ones")


@dataclass(frozen=True)
class PropertiesConfig:
    """Settings of the study `properties`: networks, their properties, and the models that predict them.

    Args:
        folder: folder with the published networks, as `deepnets import deepnets1m_eval.hdf5` makes it; then the
            properties are the four published ones, on CIFAR-10 and on ImageNet.
        values: CSV file with columns split (or group), index and one for each property of generated networks, for
            example the table RUN_ID.csv.gz of a run of no_finetune on val and test.
        columns: properties in that file; by default all its numbers. The best networks have the smallest values if the
            name has time, seconds, flops or loss in it, else the largest.
        networks: number of networks of val, and of test, whose inference time is measured if neither folder nor values
            is given.
        shuffles: number of cross-validations, each with other folds; mean and standard deviation are over them.
        predictor: the Neural Predictor: with the hyperparameters of Wen et al. (paper), or a narrow one that is trained
            in seconds (quick).
        epochs: number of training epochs of the Neural Predictor; 0 leaves it out; by default 30 for quick, 300 for
            paper.
        search: number of networks of the search split that are ranked by their predicted properties, up to 100,000.
        top: number of the best of them that are reported.
    """

    folder: Annotated[Path | None, unset("PATH")] = None
    values: Annotated[Path | None, unset("PATH")] = None
    columns: Annotated[tuple[str, ...], unset("[STR [STR ...]]")] = ()
    networks: int = 100
    shuffles: int = 5
    predictor: Literal["quick", "paper"] = "quick"
    epochs: Annotated[int | None, unset("INT")] = None
    search: int = 1000
    top: int = 5

    def __post_init__(self) -> None:
        limits = {"networks": (10, 500), "shuffles": (1, 1000), "search": (1, 100_000)}
        if self.epochs is not None:
            limits["epochs"] = (0, 10_000)
        for name, (low, high) in {**limits, "top": (1, self.search)}.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"properties.{name} is {getattr(self, name)}; accepted: {low} to {high}")
        if self.folder is not None and self.values is not None:
            raise InputError("properties.folder brings the published values; give it or properties.values, not both")
        if self.columns and self.values is None:
            raise InputError("properties.columns are those of the file properties.values; give both")
