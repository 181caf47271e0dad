"""Rank correlations that follow from the published results of single networks, as rows of the nas leaderboard."""

from functools import cache

import pandas as pd

from benchmarks.core.rank_correlation import correlations
from benchmarks.published_results.per_network import accuracy, values

_TRUTH = {"cifar10": ("sgd_50ep", "trained for 50 epochs"), "imagenet": ("sgd_1ep", "trained for 1 epoch")}
_COLUMNS = {"params": "params", "time": "inference_time_s"}


@cache
def correlation_rows() -> list[tuple[str, str, str, dict[str, tuple[float | None, ...]]]]:
    """Score, data set, setting, and tau with its interval by group of networks."""
    rows: list[tuple[str, str, str, dict[str, tuple[float | None, ...]]]] = []
    for dataset, (protocol, setting) in _TRUTH.items():
        truth = accuracy(dataset, "RANDINIT", protocol=protocol)
        for name in ("MLP", "GHN-1", "GHN-2", *_COLUMNS):
            if dataset == "imagenet" and name == "MLP":  # not published
                continue
            table = correlations(_scores(dataset, name), truth)
            cells: dict[str, tuple[float | None, ...]] = {
                str(g): tuple(map(float, line)) for g, *line in table[["tau", "low", "high"]].itertuples()
            }
            rows.append((name, dataset, setting, cells))
    return rows


def _scores(dataset: str, name: str) -> pd.Series:
    if name in _COLUMNS:
        return values(dataset, _COLUMNS[name])
    return accuracy(dataset, name, protocol="no_finetune")
