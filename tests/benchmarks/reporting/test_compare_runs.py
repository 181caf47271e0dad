"""Comparisons of runs, curves of several runs, and figures from published results."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.core.evaluation_networks import networks_in
from benchmarks.published_results import figures
from benchmarks.published_results.per_network import values
from benchmarks.records.record import RecordError
from benchmarks.records.record_files import write_record
from benchmarks.reporting import compare_runs, plot_curves, plot_ghn_training
from deepnets.utils.errors import InputError
from tests.support.made_up_records import PLAN, made_up_record

SCORES = pd.DataFrame(
    {"a": [90.0, 50.0, 30.0], "b": [80.0, 60.0, 10.0], "c": [70.0, 55.0, 20.0]},
    pd.MultiIndex.from_tuples([("test", 0), ("wide", 0), ("wide", 1)], names=["group", "index"]),
)


def called(monkeypatch: pytest.MonkeyPatch, module: Any, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
    return int(module.main())


def test_ranks_wins_and_losses() -> None:
    table = compare_runs.summarize(SCORES)
    assert table["test"].tolist() == [90, 80, 70]
    assert table["wide"].tolist() == table["ood"].tolist() == [40, 35, 37.5]
    assert table["rank"].tolist() == pytest.approx([(1 + 3 + 1) / 3, (2 + 1 + 3) / 3, (3 + 2 + 2) / 3])
    assert table.loc["a", ["wins", "gain", "loss"]].tolist() == pytest.approx([200 / 3, 15, -5])
    assert table.loc["c", ["wins", "gain", "loss"]].isna().all()


def test_accuracy_by_depth() -> None:
    scores = pd.DataFrame(
        {"a": np.arange(12.0)}, pd.MultiIndex.from_product([["test"], range(12)], names=["group", "index"])
    )
    table = compare_runs.by_size(scores, "cells", 32, 10)
    architectures = [network.architecture(32) for network in networks_in("test", 12)]
    cells = [architecture.n_cells for architecture in architectures if architecture is not None]
    assert table["networks"].sum() == 12
    for bin, row in table.iterrows():
        inside = [score for score, number in enumerate(cells) if number in bin]
        assert row["a"] == pytest.approx(np.mean(inside))
    with pytest.raises(RecordError, match="there are no networks of DeepNets-1M"):
        compare_runs.by_size(SCORES.rename({"test": "resnet18", "wide": "resnet50"}).iloc[:1], "cells", 32, 10)


def test_the_command_compares_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        write_record(tmp_path / str(seed), *made_up_record(replace(PLAN, seed=seed), seed))
    folders = (tmp_path / "0", tmp_path / "1")
    assert called(monkeypatch, compare_runs, *folders, "--by", "channels", "--plot", tmp_path / "a.png") == 0
    printed = capsys.readouterr().out
    assert "12 networks, top1 in percent" in printed
    assert "rank" in printed
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert called(monkeypatch, compare_runs, tmp_path / "0") == 2
    assert "give the folders of two runs or more" in capsys.readouterr().err


def test_curves_are_those_of_the_chosen_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run" / "curves"
    run.mkdir(parents=True)
    lines = {"training": [0, 0, 1, 1], "step": [9, 18, 9, 18], "loss": [2.0, 1.0, 3.0, 2.5]}
    lines |= {"train_top1": [0.2, 0.9, 0.2, 0.3], "val_top1": [0.1, 0.4, 0.2, 0.6]}
    pd.DataFrame(lines).to_csv(run / "test_0-0.csv", index=False)
    pd.DataFrame({**lines, "loss": [1.0, 1.0, 1.0, 0.5]}).to_csv(run / "test_1-0.csv", index=False)
    curve = plot_curves.read_curves(tmp_path / "run")
    assert curve["loss"].to_dict() == {9: 2.0, 18: 1.5}
    ghn = tmp_path / "ghn"
    ghn.mkdir()
    log = [{"step": 50, "loss": 2.0, "accuracy": 0.2}, {"step": 50, "val_accuracy": 0.3}]
    (ghn / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
    assert plot_curves.read_curves(ghn).loc[50].to_dict() == {"loss": 2.0, "train_top1": 0.2, "val_top1": 0.3}
    assert called(monkeypatch, plot_curves, tmp_path / "run", ghn, "--out", tmp_path / "curves.png") == 0
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="has no curves; give the folder of a run with --curves"):
        plot_curves.read_curves(tmp_path)


def test_accuracy_of_ghns_over_hours_and_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    window = {"images": 1_800_000, "images_per_second": 500.0, "accuracy": 0.25}
    log = [{"step": 50, **window}, {"step": 50, "val_accuracy": 0.3}]
    log += [{"step": 75, **window, "images_per_second": 1000.0}, {"step": 100, "val_accuracy": 0.5}]
    for name in ("ghn2", "mlp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
    run = plot_ghn_training.read_progress(tmp_path / "ghn2")
    assert run["hours"].to_dict() == {50: 1.0, 75: 1.5, 100: 1.5}
    assert run["images"].to_dict() == {50: 1.8, 75: 3.6, 100: 3.6}
    assert run["val_accuracy"].dropna().to_dict() == {50: 0.3, 100: 0.5}
    out = tmp_path / "training.png"
    assert called(monkeypatch, plot_ghn_training, tmp_path / "ghn2", tmp_path / "mlp", "--out", out) == 0
    assert out.stat().st_size > 10_000
    assert "accuracies of ghn2, mlp" in capsys.readouterr().out
    assert called(monkeypatch, plot_ghn_training, tmp_path) == 2
    assert "has no log.jsonl of a training run that was validated" in capsys.readouterr().err


def test_published_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ghn3_4", "ghn3_1", "ghn2_11"):
        assert called(monkeypatch, figures, name, "--out", tmp_path / f"{name}.png") == 0
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert called(monkeypatch, figures, "ghn2_6fg", "--out", tmp_path / "x.png") == 2
    assert "needs the published networks (--networks-from FOLDER" in capsys.readouterr().err


def test_property_correlations_are_those_of_the_text() -> None:
    """DeepNets paper, section C.2.3: -0.40 and 0.15 between clean and noisy accuracy, 0.29 between data sets."""
    table = figures.property_correlations()
    assert table.loc["cifar10 accuracy", "cifar10 noise"] == pytest.approx(-0.40, abs=0.05)
    assert table.loc["imagenet accuracy", "imagenet noise"] == pytest.approx(0.15, abs=0.05)
    assert table.loc["cifar10 accuracy", "imagenet accuracy"] == pytest.approx(0.29, abs=0.05)
    assert len(values("cifar10", "val_top1", "RANDINIT", protocol="sgd_50ep")) > 900
