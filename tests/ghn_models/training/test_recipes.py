"""Learning rate schedules and growth of a recipe."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_training import TINY


def test_schedules() -> None:
    def shares(**changes: Any) -> list[float]:
        recipe = replace(TINY, steps=12, warmup=0.25, **changes)
        return [recipe.lr_factor(step) for step in (0, 2, 3, 8, 9, 11)]

    assert shares(schedule="constant") == pytest.approx([1 / 3, 1, 1, 1, 1, 1])
    assert shares(schedule="linear") == pytest.approx([1 / 3, 1, 1, 4 / 9, 1 / 3, 1 / 9])
    assert shares(schedule="step") == pytest.approx([1 / 3, 1, 1, 1, 0.1, 0.01])
    cosine = [0.5 * (1 + np.cos(np.pi * k / 9)) for k in (0, 5, 6, 8)]
    assert shares(schedule="cosine") == pytest.approx([1 / 3, 1, *cosine])


def test_growth_ends_before_the_run() -> None:
    assert [replace(TINY, steps=8).progress(step) for step in (0, 2, 8)] == [0, 0.25, 1]
    assert [replace(TINY, steps=8, growth=4).progress(step) for step in (0, 2, 4, 8)] == [0, 0.5, 1, 1]
