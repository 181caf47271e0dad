"""Small runs whose protocol measures something quick."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.core.protocol import Case
from benchmarks.execution.run_config import RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.execution.run_folder import RunFolder
from benchmarks.protocols.no_finetune import NoFinetune, NoFinetuneConfig
from benchmarks.records.record import run_identity

PLAN = RunConfig("no_finetune", NoFinetuneConfig(), "randinit", "digits", ("test", "bnfree"), num=2, seed=3)


def folder(path: Path, plan: RunConfig = PLAN) -> RunFolder:
    return RunFolder(path, run_identity(plan, load_run_context(plan)))


def scored(row: Callable[[Case[Any]], dict[str, float]], monkeypatch: pytest.MonkeyPatch, batch_size: int = 64) -> None:
    """Replace what the protocol measures by something quick."""
    monkeypatch.setattr(NoFinetune, "evaluate", lambda self, case, settings: row(case))
    monkeypatch.setattr(NoFinetune, "batch_size", batch_size)
