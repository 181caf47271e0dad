"""The probabilities that the documents state are those of the sample that `verify` draws."""

import re

import numpy as np
import pytest

from benchmarks.records.detection_risk import chance_found, describe_chances, edited_networks, sample_size
from benchmarks.records.verification import Comparison, draw_sample, has_shift
from tests.support.paths import ROOT


@pytest.mark.parametrize(("total", "share"), [(900, 0.01), (900, 0.05), (900, 0.2), (74, 0.05), (20, 0.05)])
@pytest.mark.parametrize("sample", [5, 20, 58])
def test_chances_are_those_of_simulations(total: int, share: float, sample: int) -> None:
    edited = edited_networks(total, share)
    rng = np.random.default_rng(0)
    runs, found = 2000, 0
    for seed in range(runs):
        cheated = set(rng.choice(total, edited, replace=False).tolist())
        found += not cheated.isdisjoint(draw_sample(total, sample, seed))
    expected = chance_found(total, edited, sample)
    assert found / runs == pytest.approx(expected, abs=4 * (0.25 / runs) ** 0.5)


@pytest.mark.parametrize(("total", "share", "risk"), [(900, 0.05, 0.05), (900, 0.01, 0.1), (74, 0.2, 0.01), (3, 1, 0)])
def test_the_sample_is_the_smallest_that_is_enough(total: int, share: float, risk: float) -> None:
    size, edited = sample_size(total, share, risk), edited_networks(total, share)
    assert 1 - chance_found(total, edited, size) <= risk
    assert size == 1 or 1 - chance_found(total, edited, size - 1) > risk


def test_no_risk_needs_all_but_the_others() -> None:
    assert sample_size(900, 0.05, 0.0) == 900 - 45 + 1
    assert chance_found(900, 45, 900) == chance_found(900, 45, 10**6) == 1


def test_the_guide_states_the_same_numbers() -> None:
    guide = (ROOT / "benchmarks" / "reporting" / "guide.md").read_text()
    lines = re.findall(r"^\| (\d+) \| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+)% \|$", guide, re.MULTILINE)
    assert len(lines) >= 4
    for size, *chances in lines:
        assert describe_chances(900, int(size)).endswith("1% {}%, 5% {}%, 20% {}%".format(*chances)), describe_chances(
            900, int(size)
        )


def compared(*differences: float) -> list[Comparison]:
    return [Comparison("", "", "", [difference], 0.01) for difference in differences]


@pytest.mark.parametrize(
    ("differences", "shifted"),
    [
        ((0.0,) * 5, False),
        ((-1 / 300,) * 5, True),  # 0.3 points everywhere
        ((-0.003, -0.0034, -0.0028, -0.0031), True),
        ((1 / 300, 0, 0, 0, 0), False),  # one image on another processor
        ((2 / 300, -1 / 300, 0, 0, 0), False),
        ((0.009,) * 2, True),
    ],
)
def test_small_shifts_in_one_direction_are_found(differences: tuple[float, ...], shifted: bool) -> None:
    assert has_shift(compared(*differences)) is shifted
