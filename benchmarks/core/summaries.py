"""Summaries of a group of networks: the mean of their accuracies, or the rank correlation of their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepnets.sampling.splits import SPACE_SPLITS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Statistics = dict[str, float | None]
"""Numbers by name; None where there are too few networks for a number."""

TOP = 10
_SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Summary:
    """Rule that turns the results of a group of networks into a cell of a leaderboard.

    Args:
        statistics: function of the rows of results and the name of a metric; returns numbers by name.
        shown: names of the statistics in a cell: the value, then its error or the limits of its interval.
        best: as `shown`, for the column of the ten best networks; empty if the protocol has no such column.
        scale: factor of the numbers in a cell, 100 for percent.
        digits: decimal digits in leaderboards for people; CSV files get one more.
        per_network: whether the metrics are measured for each network (accuracy), not for a group (tau).
        unknown: message for runs without a number: why there is none.
    """

    statistics: Callable[[pd.DataFrame, str], Statistics]
    shown: tuple[str, ...]
    best: tuple[str, ...]
    scale: float
    digits: int
    per_network: bool
    unknown: str = ""

    def cell(self, statistics: Statistics, names: Sequence[str] = ()) -> tuple[float | None, ...]:
        """Return the scaled numbers of a cell.

        Args:
            statistics: numbers of a group of networks.
            names: the statistics to return, by default those of `shown`.
        """
        numbers = [statistics[name] for name in names or self.shown]
        return tuple(None if number is None else self.scale * number for number in numbers)

    def text(self, cell: Sequence[float | None]) -> str:
        """Return a cell for people: 66.9 ± 0.3 or 0.42 [0.39, 0.45]."""
        value, *errors = ("" if number is None else f"{number:.{self.digits}f}" for number in cell)
        if not errors or not all(errors):
            return value
        return f"{value} ± {errors[0]}" if len(errors) == 1 else f"{value} [{', '.join(errors)}]"


def _accuracy(rows: pd.DataFrame, metric: str) -> Statistics:
    """Return mean, std and others over networks, 0 to 1; a network that failed counts as 0.

    Repetitions of a network are averaged; std, sem and max are over networks, or over the repetitions if there is only
    one network; without these std and sem are None. top10 is the mean of the ten best networks (GHN-3 paper, Table 2).
    As in the published tables the variance is divided by n, not n - 1, and sem is std / sqrt(n).
    """
    import numpy as np
    import pandas as pd

    values = pd.to_numeric(rows[metric], errors="coerce").where(rows["status"] == "ok", 0.0)
    means = values.groupby([rows["group"], rows["index"]]).mean()
    units = (means if len(means) > 1 else values).to_numpy()
    best = np.sort(units)[-TOP:]
    result: Statistics = {"mean": float(np.mean(units)), **_spread("", units), "max": float(np.max(units))}
    return result | {"top10": float(np.mean(best)), **_spread("top10_", best)}


def _spread(name: str, values: NDArray[np.float64]) -> Statistics:
    import numpy as np

    std = float(np.std(values)) if len(values) > 1 else None
    return {f"{name}std": std, f"{name}sem": None if std is None else std / len(values) ** 0.5}


ACCURACY = Summary(_accuracy, ("mean", "sem"), ("top10", "top10_sem"), scale=100.0, digits=1, per_network=True)


def _tau(rows: pd.DataFrame, metric: str) -> Statistics:
    """Return Kendall's tau-b between score and truth of networks that have both, averaged over repetitions.

    low and high are the limits of the 95% bootstrap interval over networks. Splits of trained architectures have the
    statistics of `benchmarks.core.ranking_quality` too. All are None for fewer than three networks or constant values.
    """
    import numpy as np
    import pandas as pd

    from benchmarks.core.rank_correlation import kendall_interval
    from benchmarks.core.ranking_quality import ranking_quality

    done = rows[rows["status"] == "ok"]
    pairs = done[["score", "truth"]].apply(pd.to_numeric, errors="coerce").astype(float)
    values = pairs.groupby([done["group"], done["index"]]).mean().dropna().to_numpy()  # (n, 2)
    numbers = kendall_interval(values, _SAMPLES, seed=0) if len(values) > 2 else (np.nan,) * 3
    named = dict(zip(("tau", "low", "high"), numbers, strict=True))
    if len(values) > 2 and set(rows["group"]) <= set(SPACE_SPLITS):
        named |= ranking_quality(values)
    return {"n": len(values), **{name: float(value) if np.isfinite(value) else None for name, value in named.items()}}


CORRELATION = Summary(
    _tau,
    ("tau", "low", "high"),
    (),
    scale=1.0,
    digits=3,
    per_network=False,
    unknown="fewer than three networks of a split have a score and a truth, or all have the same",
)
