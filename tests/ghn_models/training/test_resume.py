"""A run that was stopped goes on as if it had not been."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ghn_models import GHN
from ghn_models.images.datasets import load_images
from ghn_models.training.architecture_pool import ArchitecturePool
from ghn_models.training.curves import plot_curves
from ghn_models.training.distributed import ProcessGroup
from ghn_models.training.trainer import Trainer
from ghn_models.training.training_log import LOG
from tests.support.small_ghns import KINDS
from tests.support.tiny_training import TINY, read_log, tiny_trainer


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_stopped_run_goes_on_as_if_it_had_not(
    average: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(TINY, average=average)
    whole = tiny_trainer(tmp_path / "whole", recipe)
    whole.run()
    stopped = tiny_trainer(tmp_path / "stopped", recipe)
    one_step = stopped._one_step

    def stop() -> Any:
        if stopped.step == 5:  # after the checkpoint of step 3, and two more steps in the log
            raise KeyboardInterrupt
        return one_step()

    monkeypatch.setattr(stopped, "_one_step", stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = tiny_trainer(tmp_path / "stopped", recipe)
    resumed.run()
    assert read_log(tmp_path / "stopped") == read_log(tmp_path / "whole")
    for a, b in zip(whole.ghn.parameters(), resumed.ghn.parameters(), strict=True):
        assert torch.equal(a, b)
    assert resumed.checkpoints.latest() == whole.checkpoints.latest()
    assert all(torch.equal(value, resumed.average.values[name]) for name, value in whole.average.values.items())


def test_a_run_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    first = tiny_trainer(tmp_path / "first", replace(TINY, average=0.5, schedule="constant"))
    first.run()
    pool = ArchitecturePool(None, TINY.num_architectures, 32, 10, seed=0)
    recipe = replace(TINY, steps=4, warmup=0.0, schedule="linear", average=0.5)
    start = tmp_path / "first" / "step_0000006"
    second = Trainer(
        GHN(KINDS["ghn3"]), load_images("digits"), recipe, pool, tmp_path / "second", 0, {}, ProcessGroup(), start
    )
    (tmp_path / "second").mkdir()
    second._resume()
    for a, b, (name, _) in zip(
        first.ghn.parameters(), second.ghn.parameters(), first.ghn.named_parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert torch.equal(a, second.average.values[name])
        assert all(torch.equal(v, second.optimizer.state[b][k]) for k, v in first.optimizer.state[a].items())
    assert second.step == 0
    second.run()
    rates = [line["lr"] for line in read_log(tmp_path / "second") if "lr" in line]
    assert rates == pytest.approx([recipe.lr * share for share in (1, 0.75, 0.5, 0.25)])


@pytest.mark.parametrize("at", [2, 4])
def test_shared_images_go_on_in_the_epoch(at: int, tmp_path: Path) -> None:
    """The papers' recipes show each image once in an epoch, also if the run was stopped in between."""
    recipe = replace(TINY, same_images=True, batch_size=400, crop=4, small_images=(0.0, 0.0))
    whole, resumed = tiny_trainer(tmp_path / "whole", recipe), tiny_trainer(tmp_path / "resumed", recipe)
    resumed.step = at  # an epoch is two batches of 400 of 1,197 images
    all_batches = whole._shared_batches()
    expected = [next(all_batches) for _ in range(at + 3)][at:]
    resumed_batches = resumed._shared_batches()
    for images, labels in expected:
        again = next(resumed_batches)
        assert torch.equal(again[0], images)
        assert torch.equal(again[1], labels)


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    tiny_trainer(tmp_path / "run", replace(TINY, steps=1)).run()
    before = (tmp_path / "run" / LOG).read_text()
    tiny_trainer(tmp_path / "run", replace(TINY, steps=1)).run()
    assert (tmp_path / "run" / LOG).read_text() == before
    assert plot_curves(tmp_path / "run").stat().st_size > 10_000
