"""The training loop: validation images, and networks without a finite loss."""

from dataclasses import replace
from pathlib import Path

import pytest

from ghn_models.training import step
from ghn_models.training import trainer as loop
from ghn_models.training.trainer import TrainingError
from tests.support.tiny_training import TINY, bad_run, tiny_trainer


def test_validation_takes_as_many_images_as_the_recipe_says(tmp_path: Path) -> None:
    assert len(tiny_trainer(tmp_path / "all", replace(TINY, validation_images=None)).validation) == 300
    few = tiny_trainer(tmp_path / "few", replace(TINY, validation_images=3))
    assert few.validation.labels.bincount().tolist() == [3] * 10


def test_bad_networks_are_counted_and_many_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_MAX_BAD_STEPS", 2)
    monkeypatch.setattr(step, "run", bad_run({0, 1, 2}))
    trainer = tiny_trainer(tmp_path / "few", replace(TINY, steps=2))
    trainer.run()
    assert trainer.counts == {"non_finite": 3, "out_of_memory": 0, "skipped_steps": 1}
    monkeypatch.setattr(step, "run", bad_run(set(range(100))))
    with pytest.raises(TrainingError, match="no network of the last 2 meta-batches"):
        tiny_trainer(tmp_path / "many").run()
