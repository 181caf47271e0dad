"""The command: options, folders of runs, and messages for bad input."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ghn_models
from deepnets.datasets.generation import generate, split_path
from deepnets.utils.run_directory import RunDirectory
from ghn_models import train
from ghn_models.images.datasets import ImageTask, load_images, usual_image_size
from ghn_models.training import run
from ghn_models.training.options import TrainOptions
from ghn_models.training.recipes import RECIPES
from tests.support.tiny_training import TINY

TINY_COMMAND = """
import sys
from ghn_models import train
from ghn_models.training.recipes import RECIPES
from tests.support.tiny_training import TINY
RECIPES["laptop"] = TINY
sys.exit(train.main())
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "ghn4"], "there is no model 'ghn4'"),
        (
            ["--model", "ghn2", "--recipe", "pasta"],
            "there is no recipe 'pasta'; accepted: ghn2, ghn2_imagenet, ghn3, ghn3_imagenet, lap",
        ),
        (["--model", "ghn2", "--dataset", "mnist"], "there is no image data set 'mnist'; accepted: digits"),
        (["--model", "ghn2", "--dataset", "cifar10"], "the images of cifar10 need the folder that they are in"),
        (["--model", "ghn2", "--lr", "nan"], "lr is nan; it must be a finite number above 0"),
        (["--model", "ghn2", "--steps", "0"], "steps is 0; it must be a finite number above 0"),
        (["--model", "ghn2", "--meta-batch-size", "0"], "meta_batch_size is 0; it must be a finite number above 0"),
        (["--model", "ghn2", "--seed", "-1"], "seed is -1; it must be from 0 to 2^63 - 1"),
        (["--model", "ghn2", "--device", "tpu"], "there is no device 'tpu'"),
        (["--model", "mlp", "--root", "no"], "there is no no/deepnets1m_train.hdf5; deepnets generate --split train"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    assert train.main() == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Trains, saves what `load` reads, and does not mix two runs in one folder."""
    monkeypatch.setitem(RECIPES, "laptop", TINY)
    arguments = ["train", "--model", "mlp", "--steps", "2", "--out", str(tmp_path / "run"), "--plot"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert train.main() == 0
    assert "accuracy" in capsys.readouterr().out
    ghn = ghn_models.load(tmp_path / "run" / "best")
    assert ghn.config.graph_network == "mlp"
    about = ghn_models.checkpoints.folder.read_metadata(tmp_path / "run" / "best")
    assert about["dataset"] == "digits"
    assert about["settings"]["steps"] == 2
    assert (tmp_path / "run" / "curves.png").exists()
    assert train.main() == 0  # there is nothing left to do
    assert ghn_models.load(tmp_path / "run" / "best").config == ghn.config
    with RunDirectory(tmp_path / "run", {}, "run").locked():
        other = subprocess.run([sys.executable, "-c", TINY_COMMAND, *arguments[1:]], capture_output=True, text=True)
    assert other.returncode == 2
    assert "another process works on" in other.stderr
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [*arguments[:4], "3", *arguments[5:]])
    assert train.main() == 2
    assert "has a run with settings.steps 2 instead of 3; choose another --out" in capsys.readouterr().err


def test_folders_of_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "laptop", TINY)
    for name in ("best", "step_1000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.pt").write_text("precious")
    (tmp_path / "log.jsonl").write_text('{"epoch": 1}\n{"step": 5}\n')
    before = content(tmp_path)
    monkeypatch.setattr(run, "ArchitecturePool", None)  # nothing is drawn before the folder is looked into
    monkeypatch.setattr(sys, "argv", ["train", "--model", "mlp", "--steps", "1", "--out", str(tmp_path)])
    assert train.main() == 2
    assert "has files that belong to no run, such as best; choose another --out" in capsys.readouterr().err
    assert content(tmp_path) == before


def content(folder: Path) -> dict[Path, str | None]:
    return {path: path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def test_a_run_goes_on_with_the_same_architectures_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "laptop", TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "--model", "mlp", "--steps", "1"])
    assert train.main() == 0
    path = split_path("data", "train")
    generate(path, "train", num=TINY.num_architectures, workers=1)
    assert train.main() == 0
    generate(path, "train", num=TINY.num_architectures, workers=1, seed=1, overwrite=True)
    assert train.main() == 2
    assert "has a run with architectures_sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dataset", "image_size", "used"), [("imagenet", None, 224), ("imagenet", 32, 32), ("cifar10", None, 32)]
)
def test_networks_have_the_size_of_the_images(
    dataset: str, image_size: Any, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool:
        def __init__(self, *_: Any, image_size: int, **__: Any) -> None:
            raise ValueError(f"networks for {image_size}")

    def digits(name: str, _: Path | None, size: int | None) -> ImageTask:
        return load_images("digits", image_size=size or usual_image_size(name))

    monkeypatch.setattr(run, "load_images", digits)
    monkeypatch.setattr(run, "ArchitecturePool", Pool)
    with pytest.raises(ValueError, match=f"networks for {used}"):
        run.train(TrainOptions("mlp", dataset, image_size=image_size))


def test_larger_meta_batches_may_have_more_nodes() -> None:
    recipe = run._recipe(TrainOptions("ghn3_xl", recipe="ghn3_imagenet", meta_batch_size=16), "cpu")
    assert (recipe.meta_batch_size, recipe.limits.meta_batch_nodes) == (16, 4400)
    alone = run._recipe(TrainOptions("ghn3_xl", recipe="ghn3_imagenet", meta_batch_size=1), "cpu")
    assert alone.limits.meta_batch_nodes == 2200, "large networks would never be drawn"
    assert run._recipe(TrainOptions("ghn3", recipe="ghn3"), "cpu") == RECIPES["ghn3"]
