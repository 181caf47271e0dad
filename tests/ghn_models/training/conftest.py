"""Runs of tests calibrate on two networks, and log every step."""

import pytest

from ghn_models.training import trainer


@pytest.fixture(autouse=True)
def few_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "_CALIBRATION_NETWORKS", 2)
    monkeypatch.setattr(trainer, "_LOG_EVERY", 1)
