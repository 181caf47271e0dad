"""Calibration scales predicted weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ghn_models.training.calibration import calibrate
from tests.support.small_ghns import KINDS
from tests.support.tiny_training import TINY, tiny_trainer


@pytest.mark.parametrize("kind", KINDS)
def test_calibration(kind: str, tmp_path: Path) -> None:
    """Afterwards predicted weights have half the size of He's, and only the scale of weights has changed."""
    trainer = tiny_trainer(tmp_path / "run", replace(TINY, weight_scale=None), kind)
    networks = trainer.pool.sample(0, 4, TINY.limits)
    graphs = [network.graph for network in networks]
    before = trainer.ghn.predict(graphs)
    factor = calibrate(trainer.ghn, networks, 0.5)
    ratios = []
    for old, new in zip(before, trainer.ghn.predict(graphs), strict=True):
        for name, value in new.items():
            if value.dim() == 4 and "classifier" not in name:
                torch.testing.assert_close(value, factor * old[name], rtol=1e-4, atol=1e-6)
            if value.dim() == 4 and value.numel() >= 1000:
                ratios.append((value.square().mean() * value[0].numel() / 2).sqrt().item())
    if kind != "ghn1":  # whose weights are not normalized
        assert np.mean(ratios) == pytest.approx(0.5, rel=0.2)
