"""The page that says which command makes which table: every command is accepted, and runs on the smallest data."""

import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torchvision
from safetensors.torch import save_file

from benchmarks.evaluation import run_config
from benchmarks.run import _check_settings, _with_model, parse_options
from benchmarks.studies.registry import STUDIES
from deepnets.datasets.generation import generate
from deepnets.published.exporter import export_files
from ghn_models.registry import list_models
from ghn_models.training.recipes import RECIPES
from tests.support.made_up_records import made_up_record
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "tables.md"
STATUSES = {"exact", "approximate", "missing"}
RUN, TRAIN = "python -m benchmarks.run ", "python -m ghn_models.train "
SMALL, MISSING_DATA = "squeezenet1_1", "data: "
# A few commands of each kind that are quick; all others run with -m slow.
QUICK = (
    "deepnets generate --split deep",
    "deepnets stats data/deepnets1m_test.hdf5",
    "python -m benchmarks.published_results.figures ghn2_11",
    f"{RUN}--model randinit --preset ghn2_sgd --data-dir data --finetune.epochs 50",
)


def rows() -> list[list[str]]:
    """Return the cells of every row: item, where, command, status, difference."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "| --- |" not in line]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row[0] != "item"]


def commands() -> list[str]:
    """Return every command of the page once."""
    return list(dict.fromkeys(row[2].strip("`").replace("\\|", "|") for row in rows() if row[2]))


def test_every_item_has_a_status_and_a_reason() -> None:
    page = rows()
    assert len(page) == 194
    for item, _, command, status, difference in page:
        assert status in STATUSES, item
        assert status == "exact" or difference, item
        assert (status != "missing") or difference.startswith(MISSING_DATA), item
        assert command or difference, item
    for status in STATUSES:
        count = sum(row[3] == status for row in page)
        assert f"{count} {status}" in PAGE.read_text()


def test_commands_are_those_of_the_toolkit() -> None:
    known = (
        "deepnets ",
        "python -m benchmarks.",
        "python -m ghn_models.",
        "torchrun --nproc-per-node 2 -m ghn_models.train ",
    )
    assert [command for command in commands() if not command.startswith(known)] == []
    assert set(QUICK) <= set(commands())
    for command in commands():
        if " -m ghn_models.train " in command:
            words = shlex.split(command)
            assert words[words.index("--model") + 1] in list_models(), command
            assert words[words.index("--recipe") + 1] in RECIPES, command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what commands read: networks, trained weights, runs with their records, curves and networks."""
    folder = tmp_path_factory.mktemp("tables")
    for split in ("train", "val", "test", "wide", "deep", "dense", "bnfree"):
        num = 2000 if split == "train" else 3
        generate(folder / "data" / f"deepnets1m_{split}.hdf5", split, num=num, workers=1)
    generate(folder / "data" / "deepnets1m_predefined.hdf5", "predefined")
    files = [folder / "data" / f"deepnets1m_{split}.hdf5" for split in ("test", "val")]
    export_files(files, folder / "deepnets1m_eval.hdf5")
    (folder / "published").mkdir()
    for path in (folder / "data").glob("*.hdf5"):
        os.link(path, folder / "published" / path.name)
    network = torchvision.models.squeezenet1_1(num_classes=10)
    save_file(network.state_dict(), folder / "resnet50.safetensors")
    for seed, name in enumerate(("RUN_ID", "RUN_1", "RUN_2", "GHN", "RANDINIT")):
        _make_run(folder / "results" / name, network.state_dict(), seed)
    for name in ("m1", "m8"):
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "log.jsonl").write_text(json.dumps({"step": 50, "loss": 2.0, "accuracy": 0.1}))
    return folder


def _make_run(run: Path, weights: dict[str, Any], seed: int) -> None:
    from benchmarks.records.record_files import write_record

    write_record(run, *made_up_record(seed=seed))
    (run / "networks").mkdir()
    save_file(weights, run / "networks" / f"{SMALL}-0.safetensors")
    identity = {"model": {"name": "randinit"}, "dataset": {"name": "digits"}}
    (run / "identity.json").write_text(json.dumps(identity))
    (run / "curves").mkdir()
    lines = {"training": [0], "step": [9], "loss": [1.0], "train_top1": [0.5], "val_top1": [0.5]}
    pd.DataFrame(lines).to_csv(run / "curves" / "test_0-0.csv", index=False)


def tiny(command: str) -> list[str]:
    """Return the words of a command on the smallest data: digits, a few networks, a few steps."""
    words = shlex.split(command)
    if command.startswith("deepnets generate"):
        num = [] if "predefined" in command else ["--num", "3", "--workers", "1"]
        return [*words, *num, "--root", "made"]
    if command.startswith("deepnets import"):
        return [word.replace("published", "imported") for word in words]
    if " -m ghn_models.train " in command:
        return _tiny_training(words)
    if command.startswith(RUN):
        return _tiny_run(words)
    return words


def _tiny_training(words: list[str]) -> list[str]:
    if "--steps" in words:
        del words[words.index("--steps") : words.index("--steps") + 2]
    words[words.index("--dataset") + 1] = "digits"
    sizes = ["--steps", "1", "--meta-batch-size", "2", "--batch-size", "8", "--validation-networks", "1"]
    if "--meta-batch-size" in words:
        del sizes[2:4]
    architectures = [] if "--num-architectures" in words else ["--num-architectures", "2000"]
    return [*words, *sizes, *architectures, "--out", "trained"]


def _without(words: list[str], *options: str) -> list[str]:
    """Remove options with all of their values."""
    kept: list[str] = []
    skipping = False
    for word in words:
        if word.startswith("--"):
            skipping = word in options
        if not skipping:
            kept.append(word)
    return kept


def _tiny_run(words: list[str]) -> list[str]:
    model = words[words.index("--model") + 1] if "--model" in words else ""
    protocol = words[words.index("--protocol") + 1] if "--protocol" in words else ""
    words = _without(
        words, "--data-dir", "--dataset", "--image-size", "--split", "--num", "--repeats", "--random-weights"
    )
    words = _without(words, "--networks-from", "--nas.truth", "--select-from", "--properties.folder", "--orth-layer")
    if model.partition(".")[0].removesuffix("_orth") in list_models():
        words[words.index("--model") + 1] = "mlp_orth" if model.endswith("_orth") else "mlp"
    if model.startswith("pretrained:"):
        words[words.index("--model") + 1] = f"pretrained:resnet50.safetensors{'_orth' * model.endswith('_orth')}"
    if model in ("gradinit", "nio", "metainit"):
        words[words.index("--model") + 1] += ".1"
    return [*words, *_smallest(words, protocol), "--out", "out"]


def _smallest(words: list[str], protocol: str) -> list[str]:
    if protocol == "analysis":
        words[:] = _without(words, "--analysis.shape", "--analysis.networks")
        few = ["--analysis.train", "10", "--analysis.num", "10", "--analysis.shape", "32", "1", "3", "3"]
        return [*few, "--analysis.networks", "vit", "--dataset", "digits"]
    if protocol == "properties":
        words[:] = _without(words, "--properties.search")
        few = ["--properties.networks", "10", "--properties.search", "20", "--properties.epochs", "1"]
        return [*few, "--properties.shuffles", "1"]
    if protocol == "detection":
        few = ["--detection.epochs", "1", "--detection.image-side", "64", "--split", "resnet18", "--repeats", "1"]
        return [*few, "--data-dir", "PennFudanPed", "--workers", "1"]
    common = ["--dataset", "digits", "--workers", "1", "--repeats", "1"]
    if protocol == "nas":
        return [*common, "--split", "nasbench201", "--num", "3"]
    preset = words[words.index("--preset") + 1] if "--preset" in words else ""
    finetune = ["--finetune.steps", "1", "--finetune.lrs", "0.01", "--finetune.weight-decays", "0.0"]
    transfer = ["--transfer.epochs", "1", "--transfer.lrs", "0.01", "--transfer.adam-lrs", "0.001"]
    transfer += ["--transfer.optimizers", "sgd", "--transfer.weight-decays", "0.0", "--transfer.labels-per-class", "5"]
    is_transfer = protocol == "transfer" or "fewshot" in preset or preset.startswith("ghn_orth")
    trained = transfer if is_transfer else finetune if protocol == "finetune" or preset else []
    words[:] = _without(words, *(word for word in trained if word.startswith("--")), "--finetune.epochs")
    network = "bnfree/2" if "fixup" in words else SMALL
    return [*common, *trained, "--split", network]


def accepted(command: str, folder: Path) -> None:
    """Parse a command of benchmarks.run and make the configuration of its run, all but the missing data."""
    words = shlex.split(command)[3:]
    options = _with_model(parse_options(words))
    _check_settings(options)
    if options.protocol in STUDIES or options.select_from is not None:
        return
    settings = getattr(options, options.protocol, None)
    if options.dataset is None and options.protocol == "properties":
        return
    config = run_config(options, settings)
    assert config.networks()


@pytest.fixture
def at_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of its own that has what commands read."""
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUNS = [command for command in commands() if command.startswith(RUN)]


@pytest.mark.parametrize("command", RUNS[::12])
def test_commands_are_accepted(command: str, at_folder: Path) -> None:
    accepted(command, at_folder)


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNS)
def test_all_commands_are_accepted(command: str, at_folder: Path) -> None:
    accepted(command, at_folder)


def run_tiny(command: str, at_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command in this process, as `python -m` or the script would."""
    if "detection" in command:
        pytest.importorskip("pycocotools")
        from benchmarks.detection.synthetic_pedestrians import main as make_photographs

        monkeypatch.setattr(sys, "argv", ["x", "PennFudanPed"])
        make_photographs()
    words = tiny(command)
    module = "deepnets.cli" if words[0] == "deepnets" else words[words.index("-m") + 1]
    arguments = words[1:] if words[0] == "deepnets" else words[words.index("-m") + 2 :]
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert not end.value.code, " ".join(words)


@pytest.mark.parametrize("command", QUICK)
def test_commands_run(command: str, at_folder: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tiny(command, at_folder, monkeypatch)


# What runs on data of its own: the checks of the board, the hub, other checkouts, minutes of measurements.
_ELSEWHERE = ("convert", "leaderboard check", "performance.", "ghn2_6fg", "torchvision74", "lr_sensitivity")


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in commands() if c not in QUICK and not any(e in c for e in _ELSEWHERE)])
def test_all_commands_run(
    command: str, at_folder: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tiny(command, at_folder, monkeypatch)
