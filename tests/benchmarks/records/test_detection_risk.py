"""The probabilities that the documents state are those of the sample that `verify` draws."""

import gzip
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.records.detection_risk import chance_found, describe_chances, edited_networks, sample_size
from benchmarks.records.record import read_rows
from benchmarks.records.verification import Comparison, draw_sample, draw_surprising, has_shift, surprise
from tests.support.paths import LEADERBOARDS, ROOT


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


def found_share(values: Any, sample: int, runs: int = 400) -> float:
    """Return how often edits of 5% of the networks are found that raise them to the accuracy of the best tenth."""
    rng, found = np.random.default_rng(0), 0
    best = np.quantile(values["top1"], 0.9)
    for seed in range(runs):
        rows, cheated = values.copy(), rng.choice(len(values), len(values) // 20, replace=False)
        rows.iloc[cheated, rows.columns.get_loc("top1")] = best + rng.uniform(0, 0.02, len(cheated))
        chosen = draw_sample(len(rows), sample, seed)
        chosen += draw_surprising(surprise(rows, ["top1"]), chosen, sample // 4, seed)
        found += not set(cheated.tolist()).isdisjoint(chosen)
    return found / runs


def test_edits_that_raise_a_mean_are_found_more_often() -> None:
    guide = (ROOT / "benchmarks" / "reporting" / "guide.md").read_text()
    stated = re.search(r"samples of 5, 20 and 57 find ([\d.]+)%, ([\d.]+)% and ([\d.]+)%", guide)
    assert stated is not None
    table = next((LEADERBOARDS / "runs").glob("no_finetune-digits-ghn3_t.digits-*.csv.gz"))
    values = read_rows(gzip.decompress(table.read_bytes()))
    for sample, percent in zip((5, 20, 57), stated.groups(), strict=True):
        simulated = found_share(values, sample)
        assert simulated == pytest.approx(float(percent) / 100, abs=0.02)
        assert simulated > chance_found(len(values), len(values) // 20, sample) + 0.01


def test_failures_and_groups_of_one_do_not_surprise() -> None:
    rows = pd.DataFrame({"group": ["a", "a", "a", "a", "b"], "top1": ["0.5", "0.5", "0.9", "", "0.1"]})
    assert surprise(rows, ["top1"]).tolist() == [0.0, 0.0, 0.4, 0.0, 0.0]
    assert draw_surprising(surprise(rows, ["top1"]), [0], 1, seed=0) == [2]
    assert draw_surprising(surprise(rows, ["top1"]), [0, 1, 2, 3, 4], 1, seed=0) == []


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
