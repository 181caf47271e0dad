"""Published results of single networks, measured by the authors of the GHN papers on the published DeepNets-1M.

    load("cifar10")                    1,402 networks: trained for 50 epochs, or predicted by MLP, GHN-1, GHN-2
    load("cifar10_epochs")             the same after 1, 5, 10, 20, 30, 40, 50 epochs
    load("cifar10_curves")             training loss and accuracy of each epoch
    load("cifar10_properties")         parameters, speed of inference and of convergence, other hardware for some splits
    load("imagenet")                   top-5: trained for 1 epoch, or predicted by GHN-1, GHN-2
    load("torchvision74")              ImageNet top-1 of PyTorch-74: GHN-2, GHN-3, random, trained weights
    query("test", 210)                 what is known of one network

The data come from the result files of facebookresearch/ppuda and SamsungSAILMontreal/ghn3 (MIT licenses). Columns and
known defects are described in `data/README.md`. Accuracies are in percent.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS
from deepnets.utils.errors import InputError, unknown_choice

DATA_DIR = Path(__file__).parent / "data"
_FILES = {
    "cifar10": "per_architecture_cifar10",
    "cifar10_epochs": "per_architecture_cifar10_extended",
    "cifar10_curves": "training_curves_cifar10",
    "cifar10_properties": "arch_properties_cifar10_extended",
    "imagenet": "per_architecture_imagenet",
    "torchvision74": "per_architecture_torchvision74",
}
INDEX_COLUMNS = ["split", "arch_index"]


def load(name: str) -> pd.DataFrame:
    """Return a table of published results, a line for each network and method.

    Raises:
        InputError: an unknown name.
    """
    if name not in _FILES:
        raise InputError(unknown_choice("published results", name, _FILES))
    return _read(name).copy()


@cache
def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA_DIR / f"{_FILES[name]}.csv.gz")


def query(split: str, index: int, dataset: str = "cifar10") -> pd.DataFrame:
    """Return all published results of one network.

    Args:
        split: val, test, wide, deep, dense, bnfree, predefined; pytorch74 for torchvision74.
        index: index of the network in the split of the published DeepNets-1M.
        dataset: name of the table.

    Raises:
        InputError: an unknown table, split or index.
    """
    table = load(dataset)
    lines = table[(table["split"] == split) & (table["arch_index"] == index)]
    if lines.empty:
        known = table.groupby("split", sort=False)["arch_index"].max() + 1
        accepted = ", ".join(f"{name} 0 to {count - 1}" for name, count in known.items())
        raise InputError(f"there are no results of {split} {index} in {dataset}; accepted: {accepted}")
    return lines.reset_index(drop=True)


def values(dataset: str, column: str, method: str | None = None, **conditions: object) -> pd.Series:
    """Return one value for each network, where it is known.

    Args:
        dataset: name of the table.
        column: name of the column.
        method: RANDINIT, GHN-2 and so on.
        conditions: values that other columns must have, such as protocol="sgd_50ep" or epoch=1.

    Returns:
        Values by split and index.

    Raises:
        InputError: an unknown table or column, or conditions that no line meets.
    """
    table = load(dataset)
    expected = {**({} if method is None else {"method": method}), **conditions}
    for name in (column, *expected):
        if name not in table:
            raise InputError(f"{dataset} has no column {name!r}; accepted: {', '.join(table)}")
    for name, value in expected.items():
        known = table[name].unique()
        table = table[table[name] == value]
        if table.empty:
            raise InputError(f"{dataset} has no {name} {value!r} here; accepted: {', '.join(map(str, known))}")
    return table.drop_duplicates(INDEX_COLUMNS).set_index(INDEX_COLUMNS)[column].dropna()


def accuracy(dataset: str, method: str, **conditions: object) -> pd.Series:
    """Return accuracies on test images by split and index.

    As in the papers, networks of val have none on CIFAR-10.
    """
    column = {"cifar10": "test_top1", "cifar10_epochs": "test_top1", "imagenet": "test_top5"}.get(dataset, "top1")
    return values(dataset, column, method, **conditions)


def by_split(scores: pd.Series) -> pd.DataFrame:
    """Return number, mean, std, sem and max for each split, all evaluation splits, and those out of distribution.

    As in the papers std is divided by n and sem is std / sqrt(n).
    """
    splits = scores.index.get_level_values("split")
    parts = {str(split): scores[splits == split] for split in dict.fromkeys(splits)}
    known = [split for split in EVALUATION_SPLITS if split in parts]
    for name, members in (("all", known), ("ood", [split for split in known if split != "test"])):
        if len(members) > 1:
            parts[name] = scores[splits.isin(members)]
    rows = {name: _summary(part.to_numpy()) for name, part in parts.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _summary(part: np.ndarray) -> dict[str, float]:
    std = float(np.std(part))
    return {"n": len(part), "mean": part.mean(), "std": std, "sem": std / len(part) ** 0.5, "max": part.max()}


def compare(scores: pd.Series, baseline: pd.Series) -> dict[str, float]:
    """Compare scores with a baseline.

    Returns:
        `wins`, the percentage of networks with a higher score; `gain` and `loss`, the mean difference where the score
        is higher and where it is not.
    """
    gain = (scores - baseline).dropna()
    return {"wins": 100 * (gain > 0).mean(), "gain": gain[gain > 0].mean(), "loss": gain[gain <= 0].mean()}
