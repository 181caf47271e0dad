"""Rank correlations between what predicts the quality of networks and the quality itself (GHN-3 paper, section A.4).

Correlations over networks of several splits are mostly about differences between the splits, so they come for each
split too.
"""

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from benchmarks.networks import EVALUATION_SPLITS


def kendall(scores: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b of values as they are; NaN if either is constant."""
    return float(kendalltau(scores, truth).statistic)


def correlations(scores: pd.Series, truth: pd.Series, samples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Kendall's tau within each split and over all evaluation splits.

    Args:
        scores, truth: by split and index; networks that have both are used.
        samples: resamples of the networks for the confidence interval.
        seed: of the resamples.

    Returns:
        A line for each split, and "all" for the pooled evaluation splits if there are several: n, tau, and the limits
        `low` and `high` of the 95% percentile bootstrap interval.
    """
    both = pd.concat([scores.rename("score"), truth.rename("truth")], axis=1, join="inner").dropna()
    splits = both.index.get_level_values(0)
    parts = {str(split): both[splits == split] for split in dict.fromkeys(splits)}
    known = [split for split in EVALUATION_SPLITS if split in parts]
    if len(known) > 1:
        parts["all"] = both[splits.isin(known)]
    rows = {name: _with_interval(part.to_numpy(), samples, seed) for name, part in parts.items() if len(part) > 2}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n", "tau", "low", "high"])


def _with_interval(pairs: np.ndarray, samples: int, seed: int) -> tuple[int, float, float, float]:
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(pairs), size=(samples, len(pairs)))
    taus = [kendall(*pairs[rows].T) for rows in draws]
    low, high = np.nanpercentile(taus, (2.5, 97.5)) if np.isfinite(taus).any() else (np.nan, np.nan)
    return len(pairs), kendall(*pairs.T), float(low), float(high)
