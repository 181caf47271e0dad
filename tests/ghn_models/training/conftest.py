"""Runs of tests validate on one network, and log every step."""

import pytest

from ghn_models.training import trainer


@pytest.fixture(autouse=True)
def one_validation_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "_VALIDATION_NETWORKS", 1)
    monkeypatch.setattr(trainer, "_LOG_EVERY", 1)
