"""A few cases of each format; `python -m tests.fuzz` runs more of them, and the slow test an hour."""

import subprocess
import sys

import pytest

from tests.fuzz.formats import FORMATS
from tests.fuzz.harness import run

NUM = {"published": 3}
"""Cases of formats that take long."""


@pytest.mark.parametrize("name", FORMATS)
def test_inputs_are_read_or_refused_with_a_sentence(name: str) -> None:
    report = run(name, FORMATS[name](), range(NUM.get(name, 25)))

    assert report.failures == []
    assert report.outcomes["refused"] > 0


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        ("raise KeyError('x')", "traceback"),
        ("assert 1 == 2", "silently wrong"),
        ("raise ValueError('not for the user')", "traceback"),
        ("import os; os._exit(3)", "hang or crash"),
        ("x = bytearray(2**30 + 2**26); x[::4096] = bytes([1]) * len(x[::4096])", "too much memory"),
    ],
)
def test_the_harness_notices(case: str, outcome: str) -> None:
    report = run("mistakes", lambda rng, folder: exec(case) or "fine", range(2))  # type: ignore[func-returns-value]

    assert report.outcomes == {outcome: 2}
    assert [number for number, _ in report.failures] == [0, 1]


@pytest.mark.slow
def test_an_hour() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "3600", "--seed", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
