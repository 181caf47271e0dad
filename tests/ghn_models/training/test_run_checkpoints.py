"""Checkpoints of a run: damage is one sentence, and a killed save leaves nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ghn_models import CheckpointError
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.training.run_checkpoints import LATEST
from tests.support.tiny_training import save_checkpoint, tiny_trainer


@pytest.mark.parametrize("content", ["[]", "5", "{", "{}", '{"step": 3}', "other types"])
def test_a_damaged_pointer_is_noticed_and_nothing_begins_again(content: str, tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    trainer.step = 3
    save_checkpoint(trainer)
    path = tmp_path / "run" / LATEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "step": "3"}) if content == "other types" else content)
    with pytest.raises(CheckpointError, match=r"latest\.json is damaged, so nobody knows where to go on"):
        trainer._resume()


def test_a_damaged_optimizer_is_one_sentence(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    save_checkpoint(trainer)
    os.truncate(tmp_path / "run" / "step_0000000" / "optimizer.safetensors", 5)
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is not a complete safetensors file"):
        trainer._resume()


def rewritten(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    """Change the tensors of a file, and the hashes that lie beside it, so that only their meaning is wrong."""

    def damage(path: Path) -> None:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        of_weights = path.name == checkpoints.WEIGHTS
        beside = path.parent / (checkpoints.CONFIG if of_weights else "../latest.json")
        content = json.loads(beside.read_text())
        content.pop("config_sha256", None)  # as older versions wrote it
        content["weights_sha256" if of_weights else "optimizer_sha256"] = checkpoints.sha256(path)
        beside.write_text(json.dumps(content))

    return damage


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model", flipped, "is damaged: its sha256 is not the one in config.json"),
        ("optimizer", flipped, "is damaged: its sha256 is not the one in latest.json"),
        ("model", rewritten(lambda s: s["norm.bias"].fill_(float("nan"))), "norm.bias has numbers that are not finite"),
        ("model", rewritten(lambda s: s.pop("norm.bias")), "has no norm.bias, which its configuration needs"),
        ("optimizer", rewritten(lambda s: s.pop("step.norm.bias")), "has no step.norm.bias, but exp_avg.norm.bias"),
        ("optimizer", rewritten(lambda s: s.update(a=torch.ones(1))), "has 'a', which is not of this GHN"),
        (
            "optimizer",
            rewritten(lambda s: s.update({"exp_avg.norm.bias": torch.ones(3)})),
            r"exp_avg.norm.bias has shape \(3,\), not \(16,\)",
        ),
        ("optimizer", rewritten(lambda s: s["exp_avg.norm.bias"].fill_(float("inf"))), "numbers that are not finite"),
    ],
)
def test_a_run_does_not_go_on_with_damaged_files(
    file: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    trainer.step = 3
    for parameter in trainer.ghn.parameters():
        parameter.grad = torch.ones_like(parameter)
    trainer.optimizer.step()
    save_checkpoint(trainer)
    trainer._resume()
    damage(tmp_path / "run" / "step_0000003" / f"{file}.safetensors")
    with pytest.raises(CheckpointError, match=message):
        trainer._resume()


@pytest.mark.parametrize(
    "change",
    [
        {"step": -5},
        {"step": True},
        {"folder": "../other/step_0000003"},
        {"best": ".."},
        {"best_accuracy": 1e308},
        {"bad_steps": -1},
        {"counts": {}},
        {"counts": {"non_finite": "x", "out_of_memory": 0, "skipped_steps": 0}},
    ],
)
def test_pointers_that_nobody_wrote(change: dict[str, Any], tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    trainer.step = 3
    save_checkpoint(trainer)
    path = tmp_path / "run" / LATEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=r"latest\.json is damaged"):
        trainer._resume()


def test_what_a_killed_save_left_is_removed(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    for trainer.step in (3, 6):
        save_checkpoint(trainer)
    for left in ("step_0000003", "step_0000009"):
        (tmp_path / "run" / left).mkdir()
    trainer._resume()
    assert [path.name for path in (tmp_path / "run").glob("step_*")] == ["step_0000006"]
