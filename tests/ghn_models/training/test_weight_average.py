"""The moving average of weights is what a run validates and saves."""

from dataclasses import replace
from pathlib import Path

import torch

import ghn_models
from tests.support.tiny_training import TINY, tiny_trainer


def test_averaged_weights_are_what_is_validated_and_loaded(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run", replace(TINY, steps=3, average=0.5))
    kept = []
    update = trainer.average.update

    def updated(step: int) -> None:
        update(step)
        kept.append([parameter.detach().clone() for parameter in trainer.ghn.parameters()])

    trainer._resume()  # calibrated, so its average is a new one
    update = trainer.average.update
    trainer.average.update = updated  # type: ignore[method-assign]
    trainer._resume = lambda: None  # type: ignore[method-assign]
    start = [value.clone() for value in trainer.average.values.values()]
    trainer.run()
    shares = [9 / 10, 9 / 11, 9 / 12]
    expected = start
    for weights, share in zip(kept, shares, strict=True):
        expected = [torch.lerp(a, b, share) for a, b in zip(expected, weights, strict=True)]
    loaded = ghn_models.load(str(tmp_path / "run" / "step_0000003"))
    for parameter, value in zip(loaded.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter, value)
    for parameter, value in zip(trainer.ghn.parameters(), kept[-1], strict=True):
        assert torch.equal(parameter, value)
