"""The log of a run: speed, and lines that are dropped when the run is resumed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ghn_models.training.training_log import LOG
from tests.support.tiny_training import TINY, save_checkpoint, tiny_trainer


def test_the_log_says_how_fast_it_goes(tmp_path: Path) -> None:
    tiny_trainer(tmp_path / "run", replace(TINY, steps=2, small_images=(0.0, 0.0))).run()
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    for line in lines[:2]:
        assert line["images_per_second"] > 0
        assert line["images_per_second"] == pytest.approx(16 * line["networks_per_second"])


def test_lines_of_the_log_that_nobody_wrote_leave_it(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    trainer.step = 3
    save_checkpoint(trainer)
    path = tmp_path / "run" / LOG
    path.write_bytes(b'[1]\n{"step": "x"}\nnull\n\xff\xfe\n{"a": 1}\n' + b"[" * 10**5 + b'\n{"step": 3}\n')
    trainer._resume()
    assert path.read_text() == '{"step": 3}\n'


@pytest.mark.parametrize("finished", [0, 3])
def test_lines_that_come_again_or_were_cut_off_leave_the_log(finished: int, tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    if finished:
        trainer.step = finished
        save_checkpoint(trainer)
    path = tmp_path / "run" / LOG
    path.write_text('{"step": 3, "loss": 1.0}\n{"step": 4, "loss": 0.9}\n{"step": 5, "lo')
    trainer._resume()
    assert path.read_text() == ('{"step": 3, "loss": 1.0}\n' if finished else "")
