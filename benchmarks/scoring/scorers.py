"""Scorers: predictions of the quality of networks without training, for the nas protocol.

A GHN or another initializer scores a network by the accuracy with its parameters; zero-cost proxies and files of scores
(CSV with the columns group, index and score) are models of that protocol too.
"""

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.protocol import Case
from benchmarks.initializers.base import Initializer, recordable
from benchmarks.initializers.registry import load_initializer
from benchmarks.scoring.zero_cost_proxies import PROXIES, score
from deepnets.utils.errors import InputError, one_line
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import ImageTask

SCORE_FILE_PREFIX = "file-"
"""Prefix of the name of files of scores in records: file-NAME-HASH."""
Scorer = Callable[[Case[ImageTask]], float]
_CSV = (".csv", ".csv.gz")


def is_scorer(name: str) -> bool:
    """Return whether this is the name of a proxy or of a file of scores."""
    return name in PROXIES or name.endswith(_CSV)


def by_accuracy(case: Case[ImageTask]) -> float:
    """Score a network by its accuracy on validation images."""
    val = case.task.val.batches(case.evaluation_batch)
    return topk_accuracy(case.model, val, case.running_statistics)[0]


def load_scorer(name: str) -> tuple[Initializer, Scorer] | None:
    """Load a proxy or a file of scores; networks have PyTorch's initialization with both.

    Returns:
        The initializer and the scorer; None for other models.

    Raises:
        InputError: a file that cannot be used.
    """
    if name in PROXIES:
        return replace(load_initializer("randinit"), name=name), _proxy_scorer(name)
    if not name.endswith(_CSV):
        return None
    path = Path(name).expanduser()
    values = read_column(path, ("score",))
    sha256 = checkpoints.sha256(path)
    called = f"{SCORE_FILE_PREFIX}{recordable(path.name.removesuffix('.gz').removesuffix('.csv'))[-60:]}-{sha256[:6]}"
    return replace(load_initializer("randinit"), name=called, weights_sha256=sha256), _look_up(values)


def _proxy_scorer(name: str) -> Scorer:
    def score_by_proxy(case: Case[ImageTask]) -> float:
        images, labels = next(iter(case.task.train.shuffled(case.evaluation_batch, case.seed, 0, 0, 0, False)))
        return score(name, case.model, images, labels)

    return score_by_proxy


def _look_up(values: pd.Series) -> Scorer:
    def look_up(case: Case[ImageTask]) -> float:
        key = (case.network.group, case.network.index)
        if key not in values.index:
            raise InputError("the file has no value for it")
        return float(values[key])

    return look_up


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table of the user.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return pd.read_csv(path.expanduser(), dtype={"group": str})
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as CSV ({one_line(error)})") from None


def read_column(path: Path, names: tuple[str, ...]) -> pd.Series:
    """Read the first of these columns that a CSV file has, by group and index; repetitions are averaged.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    table = read_csv(path)
    column = next((name for name in names if name in table), None)
    missing = [name for name in ("group", "index") if name not in table]
    if missing or column is None:
        needed = ", ".join(["group", "index", " or ".join(names)])
        raise InputError(f"{path} has the columns {', '.join(map(str, table))}; needed: {needed}")
    for name in ("index", column):
        finite = np.isfinite(pd.to_numeric(table[name], errors="coerce"))
        wrong = table[name][~finite & table[name].notna()]
        if len(wrong):
            raise InputError(f"the column {name!r} of {path} has {str(wrong.iloc[0])!r}; accepted: finite numbers")
    numbers = pd.to_numeric(table[column])
    return numbers.groupby([table["group"], table["index"]]).mean().dropna()
