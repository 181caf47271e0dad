"""What a run keeps besides its rows: curves, trained networks to start from, and states that survive a kill."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.core.cli_options import RunOptions
from benchmarks.core.evaluation_networks import EvaluationNetwork
from benchmarks.core.protocol import Case
from benchmarks.evaluation import evaluate_run, load_run_context, run_config
from benchmarks.initializers.registry import load_initializer
from benchmarks.protocols.finetune import Finetune, FinetuneConfig
from benchmarks.protocols.no_finetune import NoFinetune, NoFinetuneConfig
from benchmarks.scoring.scorers import by_accuracy
from benchmarks.training.job_folder import UNFINISHED, JobFolder
from deepnets.utils.errors import InputError
from ghn_models.images.datasets import ImageTask
from tests.support.paths import ROOT
from tests.support.resnet20 import resnet20
from tests.support.small_networks import init_context


def case_of(task: ImageTask, folder: JobFolder | None = None) -> Case[ImageTask]:
    return Case(resnet20(), task, 128, 1, EvaluationNetwork("test", 3, "test/3"), by_accuracy, folder=folder)


def test_a_trained_network_is_kept_and_started_from(digits: ImageTask, tmp_path: Path) -> None:
    """With its running statistics: without training, it has the accuracy that the first run ended with."""
    settings = FinetuneConfig(epochs=0.5, lrs=(0.1, 0.01))
    folder = JobFolder(tmp_path, "test_3-0", every=60.0, curves=True, save=True)
    result = Finetune().evaluate(case_of(digits, folder), settings)
    (tmp_path / "identity.json").write_text(json.dumps({"model": {"name": "randinit"}, "dataset": {"name": "digits"}}))

    initializer = load_initializer(f"trained:{tmp_path}")
    model = resnet20(seed=5)
    initializer.apply(model, init_context(digits, name="test/3"))
    case = Case(model, digits, 128, 1, EvaluationNetwork("test", 3, "test/3"), by_accuracy, running_statistics=True)
    assert initializer.running_statistics
    assert initializer.name.startswith("trained-randinit-digits-")
    assert NoFinetune().evaluate(case, NoFinetuneConfig())["top1"] == result["top1"]
    with pytest.raises(InputError, match="has no network test_4-0"):
        initializer.apply(model, init_context(digits, name="test/4"))
    with pytest.raises(InputError, match="has no saved networks; give the folder of a run with --save"):
        load_initializer(f"trained:{tmp_path / 'networks'}")

    lines = list(csv.DictReader((tmp_path / "curves" / "test_3-0.csv").read_text().splitlines()))
    assert [(line["lr"], line["step"]) for line in lines] == [("0.1", "4"), ("0.01", "4")]
    chosen = next(line for line in lines if float(line["lr"]) == result["lr"])
    assert 0 <= float(chosen["train_top1"]) <= 1
    assert {"loss", "val_top1", "epoch", "optimizer", "weight_decay"} <= chosen.keys()


def test_noise_and_convergence(digits: ImageTask) -> None:
    plain = Finetune().evaluate(case_of(digits), FinetuneConfig(epochs=2, lrs=(0.05,), target=0.3))
    assert plain["noisy_val_top1"] == plain["val_top1"]
    assert plain["converged"] in (9, 18)  # the end of an epoch
    assert float(plain["initial_gradient_norm"]) > 0
    noisy = Finetune().evaluate(case_of(digits), FinetuneConfig(epochs=2, lrs=(0.05,), target=1.0, noise=3.0))
    assert noisy["converged"] == 18  # never
    assert float(noisy["noisy_val_top1"]) < float(noisy["val_top1"])
    easy = FinetuneConfig(epochs=2, lrs=(0.05,), target=0.6, target_top=9)
    assert Finetune().evaluate(case_of(digits), easy)["converged"] == 9


def test_statistics_of_training_images_without_training(digits: ImageTask) -> None:
    """DeepNets paper, section C.1; the record says so, and other records stay as they are."""
    case = case_of(digits)
    anew = NoFinetune().evaluate(case, NoFinetuneConfig(batch_norm="train"))
    model = case.model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in digits.test.batches(128))
    assert anew["top1"] == right / len(digits.test)
    assert NoFinetune().settings_field(NoFinetuneConfig()) == {}
    assert NoFinetune().settings_field(NoFinetuneConfig(batch_norm="train")) == {"batch_norm": "train"}
    assert NoFinetune().describe_settings(NoFinetuneConfig(batch_norm="train")) == "statistics of training images"


def run_options(out: Path) -> RunOptions:
    return RunOptions("randinit", "finetune", dataset="digits", split=("squeezenet1_1",), workers=1, out=out)


@pytest.mark.slow
def test_a_run_that_is_killed_in_the_middle_of_a_network_gives_the_same_record(tmp_path: Path) -> None:
    """kill -9 once a state of the training exists; the same command then goes on from there."""
    words = ["--model", "randinit", "--protocol", "finetune", "--dataset", "digits", "--split", "squeezenet1_1"]
    words += ["--finetune.epochs", "3", "--finetune.lrs", "0.01", "--workers", "1", "--state-every", "0"]
    command = [sys.executable, "-m", "benchmarks.run", *words, "--out", str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, start_new_session=True, cwd=ROOT)
    while not list((tmp_path / "killed" / UNFINISHED).rglob("*.safetensors")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "killed" / UNFINISHED).rglob("*.safetensors"))
    assert not list((tmp_path / "killed").glob("*.csv.gz"))
    subprocess.run(command, env=environment, check=True, cwd=ROOT)

    options, settings = run_options(tmp_path / "whole"), FinetuneConfig(epochs=3, lrs=(0.01,))
    _, whole = evaluate_run(load_run_context(run_config(options, settings)), options, ["benchmarks.run"])
    (path,) = (tmp_path / "killed").glob("finetune-*.json")
    killed: dict[str, Any] = json.loads(path.read_text())
    for name in ("rows_sha256", "results", "run_id", "protocol"):
        assert killed[name] == whole[name]
    assert not (tmp_path / "killed" / UNFINISHED).exists()
