"""Rank correlations from the published results of single networks: the published rows of the nas leaderboard."""

from dataclasses import dataclass
from functools import cache

import pandas as pd

from benchmarks.core.rank_correlation import correlations
from benchmarks.published_results.per_network import accuracy, values

_TRUTHS = {"cifar10": ("sgd_50ep", "trained for 50 epochs"), "imagenet": ("sgd_1ep", "trained for 1 epoch")}
_PREDICTED_BY = {"cifar10": ("MLP", "GHN-1", "GHN-2"), "imagenet": ("GHN-1", "GHN-2")}
_PROPERTY_COLUMNS = {"params": "params", "time": "inference_time_s"}


@dataclass(frozen=True)
class CorrelationRow:
    """Correlation of a score with the accuracy of trained networks.

    Args:
        score: name of the score: a method, whose score is the accuracy of networks with its predicted parameters; or a
            property of the networks.
        dataset, setting: data and length of the training that the accuracies come from.
        values: Kendall's tau and the limits of its 95% interval by group of networks.
    """

    score: str
    dataset: str
    setting: str
    values: dict[str, tuple[float | None, ...]]


@cache
def correlation_rows() -> list[CorrelationRow]:
    """Return the correlations of all published scores."""
    rows = []
    for dataset, (protocol, setting) in _TRUTHS.items():
        truth = accuracy(dataset, "RANDINIT", protocol=protocol)
        scores = {name: accuracy(dataset, name, protocol="no_finetune") for name in _PREDICTED_BY[dataset]}
        scores |= {name: values(dataset, column) for name, column in _PROPERTY_COLUMNS.items()}
        rows += [CorrelationRow(name, dataset, setting, _taus(score, truth)) for name, score in scores.items()]
    return rows


def _taus(scores: pd.Series, truth: pd.Series) -> dict[str, tuple[float | None, ...]]:
    table = correlations(scores, truth)[["tau", "low", "high"]]
    return {str(group): tuple(map(float, numbers)) for group, *numbers in table.itertuples()}
