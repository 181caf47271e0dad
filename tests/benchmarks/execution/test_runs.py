"""Runs: resumed, repeated and spread they give the same results; what fails is counted; bad input is one sentence."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks import evaluation
from benchmarks import run as command
from benchmarks.core.cli_options import RunOptions
from benchmarks.core.evaluation_networks import EvaluationNetwork, network_at
from benchmarks.core.protocol import Case
from benchmarks.evaluation import evaluate_run, run_config
from benchmarks.execution import jobs as runs
from benchmarks.execution import memory, worker
from benchmarks.execution import scheduler as execution
from benchmarks.execution.jobs import try_job
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import Job
from benchmarks.execution.run_context import BatchSizes, RunContext, load_run_context
from benchmarks.execution.run_folder import RunFolder
from benchmarks.execution.scheduler import compute
from benchmarks.initializers.base import InitContext
from benchmarks.initializers.ghn import Untrained, load_predictor
from benchmarks.initializers.registry import METHODS
from benchmarks.protocols.no_finetune import NoFinetuneConfig
from benchmarks.protocols.transfer import Transfer, TransferConfig
from benchmarks.records.record import make_record
from benchmarks.records.record_files import read_record
from deepnets.utils import provenance
from deepnets.utils.errors import FileError, InputError
from ghn_models import create
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import ImageTask
from tests.support.made_up_records import rows_of
from tests.support.quick_protocols import PLAN, folder, scored

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def ghn_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "ghn"
    checkpoints.save_folder(create("ghn2", 10, 32), folder, {"model": "ghn2", "dataset": "digits"})
    return folder


def run(options: RunOptions, settings: NoFinetuneConfig, typed: list[str]) -> tuple[Path, Any]:
    return evaluate_run(load_run_context(run_config(options, settings)), options, typed)


def same_twice(a: list[Row], b: list[Row]) -> bool:
    return [replace(row, seconds=0.0) for row in a] == [replace(row, seconds=0.0) for row in b]


def test_parameters_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network and repetition has random numbers of its own, which depend on the seed of the run."""
    scored(lambda case: {"top1": next(case.model.parameters()).sum().item() + case.seed, "top5": 0.0}, monkeypatch)
    jobs = [Job("test", 0, 0), Job("test", 1, 0), Job("test", 0, 1), Job("bnfree", 0, 0)]
    plans = [PLAN, replace(PLAN, seed=4)]
    values = [runs.evaluate(load_run_context(plan), job).values["top1"] for plan in plans for job in jobs]
    assert len(set(values)) == len(values)
    assert [runs.evaluate(load_run_context(plan), job).values["top1"] for plan in plans for job in jobs] == values


@pytest.mark.parametrize("model", ["ghn1", "ghn2", "ghn3_t", "mlp"])
@pytest.mark.filterwarnings("ignore:.*keep their initialization")
def test_initialisation_is_skipped_only_where_it_is_replaced(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(PLAN, model=model, random_weights=True)
    ghn = Untrained(10, 32, plan.seed).create(model).eval()
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *args, **options: empty(*args, **options).fill_(float("nan")))
    for job in [Job(split, i, 0) for split in ("test", "wide", "deep", "dense", "bnfree") for i in (2, 36)]:
        parameters = runs.prepare(load_run_context(plan), job).model.state_dict()
        whole, graph = network_at(job.group, job.index).build(32, 10)
        ghn(whole, 32, graph)
        for name, value in whole.state_dict().items():
            assert parameters[name].isfinite().all()
            assert name in ghn.kept or torch.equal(parameters[name], value)


def test_workers_and_restarts_change_nothing(tmp_path: Path, ghn_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(PLAN, model=str(ghn_folder), groups=("test",))
    whole = compute(load_run_context(plan), folder(tmp_path / "a", plan), None, 1)
    append = RunFolder.append

    def stop(self: RunFolder, row: Row) -> None:
        append(self, row)
        with open(self.path / "rows.jsonl", "a") as file:
            file.write('{"group": "te')  # a line that a kill cut off
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "append", stop)
    with pytest.raises(KeyboardInterrupt):
        compute(load_run_context(plan), folder(tmp_path / "b", plan), None, 1)
    monkeypatch.setattr(RunFolder, "append", append)
    done: list[Job] = []

    def counting(context: RunContext, job: Job, sizes: BatchSizes) -> Any:
        done.append(job)
        return try_job(context, job, sizes)

    monkeypatch.setattr(worker, "try_job", counting)
    resumed = compute(load_run_context(plan), folder(tmp_path / "b", plan), None, 1)
    assert done == [Job("test", 1, 0)]
    assert same_twice(resumed, whole)
    monkeypatch.setattr(worker, "try_job", try_job)
    assert same_twice(compute(load_run_context(plan), folder(tmp_path / "c", plan), None, 2), whole)


def test_dask_gives_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    plan = replace(PLAN, groups=("test",))
    alone = compute(load_run_context(plan), folder(tmp_path / "a", plan), None, 1)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        spread = compute(load_run_context(plan), folder(tmp_path / "b", plan), cluster.scheduler_address, None)
    assert same_twice(alone, spread)


def test_one_network_ahead_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: a thread builds the next network."""
    scored(lambda case: {"top1": next(case.model.parameters()).sum().item(), "top5": 0.0}, monkeypatch)
    jobs = PLAN.jobs()
    ahead = [row for _, row in execution._one_ahead(load_run_context(PLAN), jobs)]
    assert same_twice(ahead, [runs.evaluate(load_run_context(PLAN), job) for job in jobs])


def test_learning_sees_few_labels_where_few_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[InitContext] = []
    trained: list[int] = []
    monkeypatch.setitem(METHODS, "randinit", lambda model, setting: seen.append(setting))

    def evaluated(self: Transfer, case: Case[ImageTask], settings: TransferConfig) -> dict[str, float]:
        trained.append(case.seed)
        return {"top1": 0.1, "top5": 0.5}

    monkeypatch.setattr(Transfer, "evaluate", evaluated)
    plan = replace(PLAN, protocol="transfer", settings=TransferConfig(labels_per_class=7))
    assert runs.evaluate(load_run_context(plan), PLAN.jobs()[0]).status == "ok"
    (few,) = (setting.images().train for setting in seen)
    assert few.labels.bincount().tolist() == [7] * 10
    task: Any = load_run_context(plan).task
    assert few.labels.equal(task.train.class_balanced_subset(7, trained[0]).labels)


class Raising(nn.Module):
    """A network whose own code raises an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize("error", [AttributeError, KeyError, NameError, TypeError, AssertionError, RuntimeError])
def test_errors_of_networks_are_results_and_mistakes_in_protocols_are_not(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same kinds of errors: what counts is where they are raised."""

    def mistaken(case: Case[Any]) -> dict[str, float]:
        raise error("modle")

    def broken(case: Case[Any]) -> dict[str, float]:
        return {"top1": float(Raising(error("no\nlayer"))(torch.ones(1)))}

    context, job = load_run_context(PLAN), PLAN.jobs()[0]
    scored(mistaken, monkeypatch)
    with pytest.raises(error, match="modle"):
        runs.evaluate(context, job)
    scored(broken, monkeypatch)
    text = "'no\\nlayer'" if error is KeyError else "no layer"  # as Python writes it
    assert runs.evaluate(context, job).reason == f"{error.__name__}: {text}"


def test_networks_that_cannot_be_differentiated_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def undifferentiable(case: Case[Any]) -> dict[str, float]:
        torch.ones(1).sum().backward()
        return {}

    def no_inverse(case: Case[Any]) -> dict[str, float]:
        return {"top1": float(torch.linalg.inv(torch.zeros(2, 2)).sum())}

    def no_value(case: Case[Any]) -> dict[str, float]:
        raise InputError("it has no ReLU")

    context, job = load_run_context(PLAN), PLAN.jobs()[0]
    for protocol, reason in (
        (undifferentiable, "RuntimeError: element 0 of tensors does not require grad"),
        (no_inverse, "_LinAlgError: linalg.inv"),
        (no_value, "it has no ReLU"),
    ):
        scored(protocol, monkeypatch)
        assert runs.evaluate(context, job).reason.startswith(reason)


def test_mistakes_in_layers_of_the_toolkit_and_in_ghns_are_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    context, job = load_run_context(PLAN), PLAN.jobs()[0]
    code = compile("def forward(self, x):\n    return self.colour(x)", "layers.py", "exec")
    layers: dict[str, Any] = {"__name__": "deepnets.networks.layers"}
    exec(code, layers)
    monkeypatch.setattr(Raising, "forward", layers["forward"])
    scored(lambda case: {"top1": float(Raising(TypeError())(torch.ones(1)))}, monkeypatch)
    with pytest.raises(AttributeError, match="colour"):
        runs.evaluate(context, job)
    ghn = type("GHN", (Raising,), {"__module__": "ghn_models.hypernetwork", "forward": lambda self, x: x @ x})
    scored(lambda case: {"top1": float(ghn(TypeError())(torch.ones(2, 3)))}, monkeypatch)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        runs.evaluate(context, job)


def test_a_run_leaves_threads_and_limits_of_the_process_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    usual = torch.get_num_threads()

    def counting(case: Case[Any]) -> dict[str, float]:
        threads.append(torch.get_num_threads())
        return {"top1": 0.5, "top5": 0.5}

    scored(counting, monkeypatch)
    torch.set_num_threads(2)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory.limited():
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
        runs.evaluate(load_run_context(PLAN), PLAN.jobs()[0])
    assert (threads, torch.get_num_threads()) == ([1], 2)
    torch.set_num_threads(usual)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_failures_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(lambda case: {"top1": 0.5, "top5": 1.0}, monkeypatch)
    build = EvaluationNetwork.build

    def fragile(
        self: EvaluationNetwork, image_size: int, num_classes: int, initialize: bool = True
    ) -> tuple[nn.Module, Any]:
        if self.name == "test/1":
            raise RuntimeError("no such\nlayer")
        return build(self, image_size, num_classes, initialize)

    monkeypatch.setattr(EvaluationNetwork, "build", fragile)
    for rows in (
        compute(load_run_context(PLAN), folder(tmp_path / "a"), None, 1),
        [row for _, row in execution._one_ahead(load_run_context(PLAN), PLAN.jobs())],
    ):
        assert [row.status for row in rows] == ["ok", "failed", "ok", "ok"]
        assert rows[1].reason == "RuntimeError: no such layer"
    record, table = make_record(PLAN, load_run_context(PLAN), rows, ["run"])
    test = record["results"]["test"]
    assert (test["networks"], test["failed"]) == (2, 1)
    assert (test["top1"]["mean"], test["top1"]["max"], test["top5"]["mean"]) == (0.25, 0.5, 0.5)
    assert b"no such layer" in table


def test_a_folder_is_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(lambda case: {"top1": 0.5, "top5": 1.0}, monkeypatch)
    compute(load_run_context(PLAN), folder(tmp_path / "a"), None, 1)
    with pytest.raises(FileError, match="has a run with seed 3 instead of 4"):
        compute(load_run_context(PLAN), folder(tmp_path / "a", replace(PLAN, seed=4)), None, 1)
    with folder(tmp_path / "a").open() as rows:
        assert len(rows) == 4
        locked = [sys.executable, "-c", f"""if True:
            from benchmarks.execution.run_folder import RunFolder
            from pathlib import Path
            with RunFolder(Path({str(tmp_path / "a")!r}), {{}}).open():
                pass"""]  # fmt: skip
        assert "another process works on" in subprocess.run(locked, capture_output=True, text=True).stderr


def test_results_of_changed_code_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, str | None] = {"rev-parse": "a" * 40, "status": " M runs.py", "diff": "+one"}
    monkeypatch.setattr(provenance, "_git", lambda verb, *arguments: answers[verb])
    first = provenance.code_state()
    answers["diff"] = "+two"
    assert provenance.code_state() != first
    answers["diff"] = "+one"
    assert provenance.code_state() == first
    answers["status"] = None
    assert provenance.code_state() == provenance.commit() == "a" * 40


def test_record_holds_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = RunOptions("randinit", split=("test",), num=1, repeats=2, workers=1)
    path, record = run(options, NoFinetuneConfig(), ["python", "-m", "benchmarks.run", "--model", "randinit"])
    assert path.parent.name == record["run_id"] == path.stem
    assert record["dataset"]["sha256"] == load_run_context(run_config(options, NoFinetuneConfig())).task.hashes()
    assert (record["networks"], record["repeats"], record["status"]) == ({"test": 1}, 2, "self_reported")
    assert read_record(path)[0] == record
    rows = pd.read_csv(path.with_suffix(".csv.gz"))
    assert record["results"]["test"]["top1"]["mean"] == pytest.approx(rows["top1"].mean())
    assert record["results"]["test"]["top1"]["std"] == pytest.approx(rows["top1"].std(ddof=0))
    again = run(replace(options, out=Path("again"), plot=True), NoFinetuneConfig(), ["x"])[1]
    changing = ("date", "seconds", "command", "commit")
    assert {k: v for k, v in again.items() if k not in changing} == {
        k: v for k, v in record.items() if k not in changing
    }
    assert (Path("again") / f"{record['run_id']}.png").stat().st_size > 10_000


def test_defaults_depend_on_the_model(ghn_folder: Path) -> None:
    plan = run_config(RunOptions(str(ghn_folder)), NoFinetuneConfig())
    assert (plan.dataset, plan.image_size, plan.groups) == ("digits", 32, ("test", "wide", "deep", "dense", "bnfree"))
    named = replace(PLAN, model=str(ghn_folder))
    sha256 = checkpoints.read_metadata(ghn_folder)["weights_sha256"]
    assert load_run_context(named).initializer.name == f"ghn2.digits-{sha256[:6]}"
    assert (
        load_run_context(replace(named, model=f"{ghn_folder}_orth")).initializer.name
        == f"ghn2.digits-{sha256[:6]}_orth"
    )
    called_so = ghn_folder.rename(ghn_folder.with_name("my_orth"))
    assert load_run_context(replace(named, model=str(called_so))).initializer.name == f"ghn2.digits-{sha256[:6]}"
    assert (
        load_run_context(replace(named, model=f"{called_so}_orth")).initializer.name == f"ghn2.digits-{sha256[:6]}_orth"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model ghn4", "there is no model 'ghn4'; accepted: randinit, he, orth, fixup, gradinit, metainit"),
        ("--model ghn2_t5", "there are no weights of ghn2_t5; train it (python -m ghn_models.train --model ghn2_t5)"),
        ("--model ghn3_l_orth", "file ghn3lm8.pt from"),
        ("--model ghn3_l_orth", "or train it (python -m ghn_models.train --model ghn3_l), or try it with --random-w"),
        ("--model ghn3_xl.imagenet_m16", "python -m ghn_models.convert ghn3_xl.imagenet_m16"),
        (
            "--model randinit --protocol speed",
            "accepted: detection, finetune, nas, no_finetune, transfer, properties, analysis, all",
        ),
        (
            "--model orth --random-weights",
            "--random-weights is for GHNs; orth is not one; accepted: as in --model ghn3_l",
        ),
        ("--model randinit --split tests", "there are no networks 'tests'; did you mean test? accepted: all, train"),
        ("--model randinit --num 0", "num is 0; it must be 1 or more"),
        ("--model randinit --seed -1", "seed is -1; it must be from 0 to 2^63 - 1"),
        ("--model randinit --split", "--split has no names; it needs one or more"),
        ("--model nothing.csv --protocol nas", "nothing.csv cannot be read as CSV"),
        (
            "--model params --protocol nas --nas.truth no.csv",
            "nas.truth is 'no.csv'; accepted: published, training, a column of the published values or a CSV file",
        ),
        ("--model params --protocol nas --nas.lr 1", "nas.lr are for --nas.truth training, not published"),
        (
            "--model params --protocol nas --num 2",
            "nas needs 3 or more networks of a split; there are 2 of torchvision74",
        ),
        (
            "--model params --protocol nas --nas.truth training --split resnet50 vit darts",
            "nas needs 3 or more networks of a split; there are 1 of resnet50, 1 of vit, 1 of darts",
        ),
        ("--model pretrained:", "pretrained: names no file; accepted: as in pretrained:resnet50.pth"),
        ("--model TRAINING", "TRAINING is not a checkpoint: it has no config.json; did you mean TRAINING/best?"),
        ("--model TRAINING_orth", "TRAINING is not a checkpoint: it has no config.json; did you mean TRAINING/best?"),
        (
            "--model randinit --protocol finetune --finetune.lrs 0.1 0.01 0.1",
            "finetune.lrs is 0.1 0.01 0.1; each value is accepted once",
        ),
        (
            "--model params --protocol nas --split test wide",
            "no published accuracies of test, wide",
        ),
        ("--model ghn3_t --protocol all --split test", "no published accuracies of test"),
        ("--model params", "params gives networks scores and no parameters; it is for --protocol nas"),
        ("--model scores.csv", "scores.csv gives networks scores and no parameters; it is for --protocol nas"),
        (
            "--model randinit --protocol transfer --transfer.labels-per-class 200 --split resnet18",
            "200 images of each class are asked for; accepted: 1 to",
        ),
        ("--model randinit --dataset mnist", "there is no image data set 'mnist'"),
        ("--model randinit --dataset cifar10", "the images of cifar10 need the folder that they are in (--data-dir)"),
        ("--model randinit --device cuda:9", "there is no device 'cuda:9'; accepted: cpu (there is no CUDA GPU)"),
        pytest.param(
            "--model randinit --num 1 --scheduler tcp://127.0.0.1:1",
            "no Dask scheduler answers",
            marks=pytest.mark.skipif(find_spec("distributed") is None, reason="needs the extra 'cluster'"),
        ),
        ("--model randinit --protocol finetune --finetune.epochs 0", "finetune.epochs is 0.0; accepted: above 0"),
        ("--model GHN --dataset fashion_mnist --data-dir x", "x is not a folder"),
        (
            "--model randinit --orth-layer 5",
            "--orth-layer is for orth and for GHNs that are made orthogonal, as ghn3_t_orth, not",
        ),
        ("--model randinit --finetune.epochs 5", "options --finetune., which are for --protocol finetune, not no_fin"),
        ("--model randinit --dataset= --num 1", "there is no image data set ''"),
        ("--model randinit --device= --num 1", "there is no device ''"),
        ("--model randinit --repeats 1000", "repeats is 1000; it must be 100 or less"),
        ("--model randinit --num 1 --out /dev/null", "/dev/null is not a folder; choose another --out"),
        ("--model randinit --num 1 --out /dev/null/run", "/dev/null is not a folder; choose another --out"),
        (
            "--model randinit --protocol all --split torchvision74 --nas.truth no.csv",
            "nas.truth is 'no.csv'; accepted: published",
        ),
        ("--model GHN100", "predicts classifiers of 100 classes, and digits has 10"),
    ],
)
def test_bad_input(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr("deepnets.utils.dask_cluster._CONNECT_SECONDS", 1)
    monkeypatch.chdir(tmp_path)
    for name, classes in (("GHN", 10), ("GHN100", 100)):
        if name in arguments.split():
            checkpoints.save_folder(create("mlp", classes, 32), tmp_path / name, {"dataset": "digits"})
    if "TRAINING" in arguments:
        checkpoints.save_folder(create("mlp", 10, 32), tmp_path / "TRAINING" / "best", {"dataset": "digits"})
    monkeypatch.setattr(sys, "argv", ["run", *arguments.split()])
    assert command.main() == 2
    output = capsys.readouterr()
    assert message in " ".join((output.err + output.out).replace("│", " ").split())
    assert "Traceback" not in output.err
    assert not Path("results").exists() or "scheduler" in arguments


def test_of_several_runs_none_begins_if_the_folder_of_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "transfer"  # the last one
    taken.mkdir()
    (taken / "letter.txt").write_text("precious")
    arguments = f"--model randinit --protocol all --num 3 --split torchvision74 --out {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["run", *arguments.split()])
    assert command.main() == 2
    assert f"{taken} has files that belong to no run, such as letter.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["transfer", "letter.txt"]


def test_a_run_without_a_result_says_why_and_is_not_for_leaderboards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = "--model fixup --protocol finetune --split test --num 1 --workers 1"
    monkeypatch.setattr(sys, "argv", ["run", *arguments.split()])
    assert command.main() == 0
    output = capsys.readouterr().out
    assert "1 failed: FixUp is for networks without batch norm, and this one has 76 such layers" in output
    assert "to put it on the leaderboard" not in output


def test_names_of_checkpoints_are_recordable(tmp_path: Path) -> None:
    checkpoints.save_folder(create("mlp", 10, 32), tmp_path / "my", {"model": "my/ghn", "dataset": ["x"]})
    assert re.fullmatch(r"my_ghn\.__x__-[0-9a-f]{6}", load_predictor(str(tmp_path / "my")).name)


def test_a_damaged_folder_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(lambda case: {"top1": 0.5, "top5": 1.0}, monkeypatch)
    whole = compute(load_run_context(PLAN), folder(tmp_path), None, 1)
    part = json.dumps(whole[0].columns() | {"status": "ok"}).replace('"top1"', '"top"')
    (tmp_path / "rows.jsonl").write_text(
        part + '\n{"group": "test"}\n[1]\nnull\n{"group": [1], "index": 0, "repeat": 0}\n'
    )
    assert same_twice(compute(load_run_context(PLAN), folder(tmp_path), None, 1), whole)
    for content in ("", "[]", '{"a'):
        (tmp_path / "identity.json").write_text(content)
        with pytest.raises(FileError, match="is damaged, so the run that it belongs to is unknown"):
            compute(load_run_context(PLAN), folder(tmp_path), None, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"top1": float("nan")}, {"top1": [0.5]}, {"top1": 10**400}, {"seconds": "1"}, {"seconds": None},
        {"index": 1.0}, {"reason": "a\nb"}, {"index": 99}, {"repeat": True}, {"name": "test/1\n"},
        {"name": "test/0"}, {"group": ["test"]}, {"status": []}, {"top1": "half"}, {"params": 0.5}, {"reason": None},
    ],
)  # fmt: skip
def test_damaged_rows_are_measured_again(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(lambda case: {"top1": 0.25, "top5": 0.5}, monkeypatch)
    sound = rows_of(PLAN)
    lines = [json.dumps(row.columns() | (change if row.name == "test/1" else {})) for row in sound]
    with folder(tmp_path).open() as rows:
        assert rows == {}
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    with folder(tmp_path).open() as rows:
        assert [row.name for row in rows.values()] == [row.name for row in sound if row.name != "test/1"]
    assert "rows.jsonl has 1 damaged lines, which are measured again" in capsys.readouterr().err


def test_random_weights_run_but_are_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = "--model ghn2 --random-weights --split test --num 1 --workers 1 --out here"
    monkeypatch.setattr(sys, "argv", ["run", *arguments.split()])
    assert command.main() == 0
    assert "leaderboard" not in capsys.readouterr().out
    (path,) = (path for path in Path("here").glob("*.json") if path.name.startswith("no_finetune"))
    assert json.loads(path.read_text())["status"] == "dev"
    assert json.loads(path.read_text())["model"]["name"] == "ghn2.random"


def test_a_record_that_lost_its_table_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = RunOptions("randinit", split=("test",), num=1, workers=1, out=tmp_path)
    path, record = run(options, NoFinetuneConfig(), ["run"])
    table = path.with_suffix(".csv.gz")
    for damage in (table.unlink, lambda: table.write_bytes(b""), lambda: path.write_text("")):
        damage()
        run(options, NoFinetuneConfig(), ["run"])
        assert read_record(path)[0]["rows_sha256"] == record["rows_sha256"]


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "compute", interrupted)
    monkeypatch.setattr(sys, "argv", ["run", "--model", "randinit", "--num", "1"])
    assert command.main() == 130
    assert capsys.readouterr().err == "interrupted; what was finished is kept\n"


@pytest.mark.slow
def test_killed_runs_are_resumed(tmp_path: Path) -> None:
    """kill -9, five times; the whole group of processes, or the parent alone."""
    arguments = [sys.executable, "-m", "benchmarks.run", "--model", "randinit", "--split", "test", "--num", "24"]
    rng, kills = random.Random(0), 0
    while kills < 5:
        process = subprocess.Popen(
            [*arguments, "--out", tmp_path / "killed"], start_new_session=True, stderr=subprocess.DEVNULL
        )
        time.sleep(8 + 4 * rng.random())
        assert process.poll() is None
        (os.killpg if kills % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        assert not list((tmp_path / "killed").glob("no_finetune*"))
    for out in ("killed", "whole"):
        subprocess.run([*arguments, "--out", tmp_path / out], check=True, capture_output=True)
    killed, whole = (read_record(next((tmp_path / out).glob("no_finetune*.json"))) for out in ("killed", "whole"))
    assert killed[1] == whole[1]
    for record, _ in (killed, whole):
        fields: Any = record
        for name in ("date", "seconds", "command"):
            fields.pop(name)
    assert killed[0] == whole[0]
