"""Runs of tests log every step."""

import pytest

from ghn_models.training import trainer


@pytest.fixture(autouse=True)
def log_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "_LOG_EVERY", 1)
