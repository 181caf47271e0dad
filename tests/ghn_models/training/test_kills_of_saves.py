"""A training is killed at every file operation; the run that continues it ends with the same files."""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import load_images
from ghn_models.training import trainer
from tests.support.tiny_training import TINY, read_log, tiny_trainer

_RECIPE = replace(TINY, steps=3, validate_every=1, num_architectures=200, batch_size=8, meta_batch_size=1)
_OPERATIONS = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.truncate",
    "os.symlink",
    "shutil.rmtree",
)

pytestmark = pytest.mark.slow


def train(folder: Path) -> None:
    tiny_trainer(folder, _RECIPE, "mlp").run()


def watch(folder: Path, happens: Callable[[str], None]) -> None:
    """Call a function before each operation on files of a folder, and in the middle of each file of weights."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in _OPERATIONS) and any(str(folder) in str(argument) for argument in arguments):
            happens(f"{event} {Path(str(arguments[0])).name}")

    sys.addaudithook(hook)
    namespace: dict[str, Any] = vars(checkpoints)
    save_file = namespace["save_file"]

    def save(tensors: dict[str, torch.Tensor], path: Path) -> None:  # not in Python, so there are no events
        happens(f"save {path.name}")
        save_file(tensors, path)
        content = path.read_bytes()
        os.truncate(path, len(content) // 2)
        happens(f"half of {path.name}")
        path.write_bytes(content)

    namespace["save_file"] = save


def in_child(work: Callable[[], None]) -> int:
    """Do something in a forked process, and return how it ended."""
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _digest(ghn: torch.nn.Module) -> int:
    return int(1e6 * sum(float(p.detach().double().abs().sum()) for p in ghn.parameters()))


def files(folder: Path) -> dict[str, Any]:
    """Return the files of a run, and its log without the times."""
    content = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in str(path) and path.suffix != ".jsonl" and path.name != "lock"
    }
    return content | {"log": read_log(folder)}


def test_kills_at_every_file_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What validation finds takes long, and does not matter; it depends on the weights.
    monkeypatch.setattr(trainer, "validation_networks", lambda task, count: [None])
    monkeypatch.setattr(trainer, "accuracies", lambda ghn, *_: [0.2 + _digest(ghn) % 1000 / 2000])
    load_images("digits")  # so that forked processes need not import what reads them
    seen = tmp_path / "operations"
    whole = tmp_path / "whole"

    def traced() -> None:
        operations: list[str] = []
        watch(whole, operations.append)
        train(whole)
        seen.write_text(json.dumps(operations))

    assert in_child(traced) == 0
    operations = json.loads(seen.read_text())
    expected = files(whole)
    different = []
    for at in range(len(operations)):
        run = tmp_path / "run"

        def killed(run: Path = run, at: int = at) -> None:
            count = 0

            def happens(operation: str) -> None:
                nonlocal count
                count += 1
                if count == at + 1:
                    os.kill(os.getpid(), signal.SIGKILL)

            watch(run, happens)
            train(run)

        assert in_child(killed) == -signal.SIGKILL
        if in_child(lambda run=run: train(run)) or files(run) != expected:  # type: ignore[misc]
            different.append(f"{at} {operations[at]}")
        shutil.rmtree(run)
    print(f"killed at {len(operations)} operations, such as {', '.join(operations[:8])}; different: {different}")
    assert len(operations) > 30
    assert different == []
