"""Quality of a score for architecture search, where finding the best architectures matters more than Kendall's tau.

The measures are the order of the best architectures, and the accuracy of the best of the few that a score proposes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

Floats = NDArray[np.float64]

TOP_SHARE = 0.1
"""Share of the networks, the best by truth, whose order `tau_top` measures."""
PROPOSED = (1, 10)
"""Numbers of networks that a score proposes; a search chooses the best of them."""
_SAMPLES = 200


def spearman(scores: Floats, truth: Floats) -> float:
    """Return Spearman's rank correlation; NaN if either is constant."""
    if np.ptp(scores) == 0 or np.ptp(truth) == 0:
        return float("nan")
    return float(spearmanr(scores, truth).statistic)


def tau_of_top(scores: Floats, truth: Floats) -> float:
    """Return Kendall's tau-b of the tenth of the networks with the highest truth; NaN for fewer than three networks."""
    count = int(np.ceil(TOP_SHARE * len(truth)))
    best = np.argsort(-truth, kind="stable")[:count]
    return float(kendalltau(scores[best], truth[best]).statistic) if count > 2 else float("nan")


def regret(scores: Floats, truth: Floats, proposed: int) -> float:
    """Return the truth of the best network minus that of the best network among the `proposed` highest scores.

    >>> regret(np.array([3.0, 2.0, 1.0]), np.array([0.5, 0.7, 0.9]), proposed=2)
    0.2
    """
    chosen = np.argsort(-scores, kind="stable")[:proposed]
    return round(float(truth.max() - truth[chosen].max()), 12)


def ranking_quality(pairs: Floats, seed: int = 0) -> dict[str, float]:
    """Compute Spearman's correlation, tau of the top, and regrets, each with a 95% interval.

    Args:
        pairs: (n, 2) score and truth of each network.
        seed: seed of the bootstrap over networks.

    Returns:
        `spearman`, `tau_top` and `regret_K`, with the limits `NAME_low` and `NAME_high` of the percentile interval.
    """
    measures: dict[str, Callable[[Floats, Floats], float]] = {"spearman": spearman, "tau_top": tau_of_top}
    measures |= {f"regret_{k}": lambda scores, truth, k=k: regret(scores, truth, k) for k in PROPOSED}  # type: ignore[misc]
    draws = np.random.default_rng(seed).integers(len(pairs), size=(_SAMPLES, len(pairs)))
    result: dict[str, float] = {}
    for name, measure in measures.items():
        values = np.array([measure(*pairs[draw].T) for draw in draws])
        low, high = np.nanpercentile(values, (2.5, 97.5)) if np.isfinite(values).any() else (np.nan, np.nan)
        result |= {name: measure(*pairs.T), f"{name}_low": float(low), f"{name}_high": float(high)}
    return result
