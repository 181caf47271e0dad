"""Sensitivity to the learning rate (GHN-3 paper, Table 18)."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.execution.row import Row
from benchmarks.execution.run_config import RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.protocols import finetune
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import make_record
from benchmarks.records.record_files import find_record, read_record, write_record
from benchmarks.reporting import lr_sensitivity
from benchmarks.reporting.lr_sensitivity import TOLERANCES, by_learning_rate, sensitivity
from deepnets.sampling.sampler import sample_networks
from deepnets.symbolic.builder import count_parameters

PLAN = RunConfig("finetune", finetune.FinetuneConfig(lrs=(0.1,)), "randinit", "digits", ("test",), num=3)


def write_run(path: Path, lr: float, values: list[float], **changes: Any) -> Path:
    plan = replace(PLAN, settings=finetune.FinetuneConfig(lrs=(lr,)), **changes)
    sampled = {group: sample_networks(group, 0, 3) for group in plan.groups}
    params = {
        group: count_parameters(networks.architectures(32), 32, 10).tolist() for group, networks in sampled.items()
    }
    rows = [
        Row(
            job=job,
            name=f"{job.group}/{job.index}",
            params=params[job.group][job.index],
            batch_size=128,
            seconds=1.0,
            status="ok",
            reason="",
            values={"lr": lr, "val_top1": 0.5, "top1": value, "top5": 1.0}
            | {"weight_decay": 3e-5, "norm_batches": 0, "initial_gradient_norm": 1.0, "converged": 9}
            | {"noisy_val_top1": 0.5},
        )
        for job, value in zip(plan.jobs(), values, strict=True)
    ]
    record, table = make_record(plan, load_run_context(plan), rows, ["x"])
    write_record(path, record, table)
    return path


def test_shares_of_networks() -> None:
    a, b = np.array([0.5, 0.6, 0.70, 0.80]), np.array([0.5, 0.3, 0.71, 0.815])
    result = sensitivity({0.1: a, 0.01: b})
    assert result.lr == 0.1
    assert (result.mean, result.own) == pytest.approx((0.65, (0.5 + 0.6 + 0.71 + 0.815) / 4))
    assert result.within == {0.0: 0.5, 0.01: 0.75, 0.02: 1.0}


def test_networks_that_fail_everywhere_are_not_at_their_best() -> None:
    result = sensitivity({0.1: np.array([0.5, 0.0]), 0.01: np.array([0.4, 0.0])})
    assert set(result.within.values()) == {0.5}


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5))
def test_shares_grow_with_the_tolerance(values: list[list[float]]) -> None:
    result = sensitivity({float(i + 1): np.array(row) for i, row in enumerate(values)})
    shares = [result.within[tolerance] for tolerance in TOLERANCES]
    assert shares == sorted(shares)
    assert result.mean <= result.own + 1e-9
    if len(values) == 1:
        assert shares[0] == np.mean(np.array(values[0]) > 0)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_run(tmp_path / "a", 0.1, [0.5, 0.6, 0.7])
    b = write_run(tmp_path / "b", 0.01, [0.4, 0.61, 0.9])

    def run(*folders: Path) -> int:
        monkeypatch.setattr(sys, "argv", ["lr_sensitivity", *map(str, folders)])
        return lr_sensitivity.main()

    assert run(a, b) == 0
    output = capsys.readouterr().out
    assert "learning rate 0.01 is best on average" in output
    assert "best top1 ± 0: 66.7% of networks" in output
    other = write_run(tmp_path / "c", 0.4, [0.4, 0.6, 0.9], seed=1)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for suffix in (".json", ".csv.gz"):
        shutil.copy(next(b.glob(f"*{suffix}")), damaged)
    next(damaged.glob("*.json")).write_text("{}")
    for folders, message in (
        ((a, damaged), "a record: the record: 'format' is a required property"),
        ((a,), "give the folders of two runs or more"),
        ((a, a), "each run must have one of its own"),
        ((a, other), "in more than the learning rate"),
        ((a, tmp_path), "has 0 records"),
    ):
        assert run(*folders) == 2
        assert message in capsys.readouterr().err


def test_networks_are_compared_with_themselves(tmp_path: Path) -> None:
    """Also where runs name their splits in another order."""
    runs = [
        write_run(tmp_path / "a", 0.1, [0.5, 0.6, 0.7, 0.1, 0.2, 0.3], groups=("test", "deep")),
        write_run(tmp_path / "b", 0.01, [0.1, 0.2, 0.3, 0.5, 0.6, 0.7], groups=("deep", "test")),
    ]
    accuracies = by_learning_rate([read_record(find_record(run)) for run in runs])
    assert accuracies[0.1].tolist() == accuracies[0.01].tolist() == [0.1, 0.2, 0.3, 0.5, 0.6, 0.7]


def test_other_learning_rates_are_another_setting() -> None:
    setting = PROTOCOLS["finetune"].describe_settings
    assert setting(finetune.FinetuneConfig()) == "1 epoch"
    assert setting(finetune.FinetuneConfig(epochs=10, lrs=(0.1,))) == "10 epochs, lrs 0.1"
