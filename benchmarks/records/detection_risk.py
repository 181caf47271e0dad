"""Probability that a random sample of a record's networks includes edited ones."""

from math import ceil

from deepnets.utils.errors import InputError

SHARES = (0.01, 0.05, 0.2)
"""Shares of edited networks for which the command prints the chances."""


def chance_found(total: int, edited: int, sample: int) -> float:
    """Return the probability that a sample without replacement has one or more of the edited networks.

    1 - C(total - edited, sample) / C(total, sample), the hypergeometric distribution. An edit of a sampled network is
    found if it is larger than the tolerance.

    >>> round(chance_found(900, 45, 5), 3), round(chance_found(900, 45, 58), 3)
    (0.227, 0.953)
    """
    return 1.0 - _chance_missed(total, edited, sample)


def _chance_missed(total: int, edited: int, sample: int) -> float:
    missed = 1.0
    for drawn in range(min(sample, total)):
        missed *= max(0, total - edited - drawn) / (total - drawn)
    return missed


def edited_networks(total: int, share: float) -> int:
    """Return the number of networks that a share of all of them stands for: one or more."""
    return max(1, ceil(share * total - 1e-9))


def sample_size(total: int, share: float, risk: float) -> int:
    """Return the smallest sample that misses edits of a share of the networks with a probability of at most `risk`.

    Args:
        total: number of networks and repetitions.
        share: share of them that are edited, above 0 and up to 1.
        risk: accepted probability of finding no edit, from 0 to below 1.

    Raises:
        InputError: a number out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share}; it must be above 0 and up to 1")
    if not 0 <= risk < 1:
        raise InputError(f"risk is {risk}; it must be from 0 to below 1")
    edited = edited_networks(total, share)
    return next(k for k in range(1, total + 1) if _chance_missed(total, edited, k) <= risk)


def describe_chances(total: int, sample: int) -> str:
    """Return the chances that a sample finds edits, as one sentence."""
    chances = [f"{share:.0%} {chance_found(total, edited_networks(total, share), sample):.1%}" for share in SHARES]
    return f"edits of this share of {total} results are found with this probability: {', '.join(chances)}"
