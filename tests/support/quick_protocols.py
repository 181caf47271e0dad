"""Small runs whose protocol measures something quick."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.core.protocol import Case
from benchmarks.execution.jobs import RunConfig, context
from benchmarks.execution.scheduler import RunFolder
from benchmarks.protocols.no_finetune import NoFinetune, NoFinetuneConfig
from benchmarks.records.record import run_identity

PLAN = RunConfig("no_finetune", NoFinetuneConfig(), "randinit", "digits", ("test", "bnfree"), num=2, seed=3)


def folder(path: Path, plan: RunConfig = PLAN) -> RunFolder:
    return RunFolder(path, run_identity(plan, context(plan)))


def scored(row: Callable[[Case], dict[str, float]], monkeypatch: pytest.MonkeyPatch, batch_size: int = 64) -> None:
    """Replace what the protocol measures by something quick."""
    context.cache_clear()
    monkeypatch.setattr(NoFinetune, "evaluate", lambda self, case, settings: row(case))
    monkeypatch.setattr(NoFinetune, "batch_size", batch_size)
