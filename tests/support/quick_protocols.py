"""Small runs whose protocol measures something quick."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.core.protocol import Case, Protocol
from benchmarks.execution.jobs import RunConfig, context
from benchmarks.execution.scheduler import RunFolder
from benchmarks.protocols.no_finetune import NoFinetuneConfig
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import run_identity

PLAN = RunConfig("no_finetune", NoFinetuneConfig(), "randinit", "digits", ("test", "bnfree"), num=2, seed=3)


def folder(path: Path, plan: RunConfig = PLAN) -> RunFolder:
    return RunFolder(path, run_identity(plan, context(plan)))


def scored(row: Callable[[Case], dict[str, float]], monkeypatch: pytest.MonkeyPatch, batch_size: int = 64) -> None:
    """Replace what the protocol measures by something quick."""
    context.cache_clear()
    kind: Protocol = replace(PROTOCOLS["no_finetune"], evaluate=lambda case, settings: row(case), batch_size=batch_size)
    monkeypatch.setitem(PROTOCOLS, "no_finetune", kind)
