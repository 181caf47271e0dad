"""Runs on a machine with little memory: smaller batches, then one network at a time."""

import gc
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.core.evaluation_networks import EvaluationNetwork
from benchmarks.core.protocol import Case
from benchmarks.execution import jobs as runs
from benchmarks.execution import memory
from benchmarks.execution import scheduler as execution
from benchmarks.execution import worker as execution_worker
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import Job
from benchmarks.execution.run_context import BatchSizes, RunContext, Stage, load_run_context
from benchmarks.execution.scheduler import compute
from benchmarks.initializers.base import InitContext
from benchmarks.initializers.registry import METHODS
from deepnets.utils.executors import WorkerPool
from tests.support.quick_protocols import PLAN, folder, scored

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_memory_that_the_next_network_takes_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()
    build = EvaluationNetwork.build

    def counted(
        self: EvaluationNetwork, image_size: int, num_classes: int, initialize: bool = True
    ) -> tuple[nn.Module, Any]:
        model, graph = build(self, image_size, num_classes, initialize)
        alive.add(model)
        return model, graph

    def full(case: Case[Any]) -> dict[str, float]:
        gc.collect()
        time.sleep(0.2)  # for the next network to be there
        if case.batch_size == 64 and len(alive) > 1:
            raise torch.OutOfMemoryError
        return {"top1": 0.5, "top5": 0.5}

    monkeypatch.setattr(EvaluationNetwork, "build", counted)
    scored(full, monkeypatch)
    assert [row.batch_size for _, row in execution._one_ahead(load_run_context(PLAN), PLAN.jobs())] == [64] * 4


@pytest.mark.parametrize("sizes", [[64, 32, 16, 8], [2]])
def test_the_last_network_has_all_of_the_memory(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made beside the one before it, which took too much; some protocols have no smaller batch."""
    scored(lambda case: {"top1": 0.5, "top5": 0.5}, monkeypatch, sizes[0])
    assert load_run_context(PLAN).protocol.batch_sizes(PLAN.settings) == sizes
    prepare = runs.prepare
    failed: list[Job] = []

    def hungry(context: RunContext, job: Job) -> runs.Prepared:
        if job == PLAN.jobs()[-1] and not failed:
            failed.append(job)
            raise torch.OutOfMemoryError
        return prepare(context, job)

    monkeypatch.setattr(execution, "prepare", hungry)
    rows = [row for _, row in execution._one_ahead(load_run_context(PLAN), PLAN.jobs())]
    assert failed
    assert [(row.status, row.batch_size) for row in rows] == [("ok", sizes[0])] * 4


def test_initialisers_that_learn_have_the_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scored(lambda case: {"top1": 0.5, "top5": 0.5}, monkeypatch)
    row = Row(PLAN.jobs()[0], "alone", 0, 64, 1.0, "ok", "")
    monkeypatch.setattr(execution, "_one_ahead", lambda plan, jobs: iter([(jobs[0], replace(row, name="ahead"))]))
    monkeypatch.setattr(execution, "evaluate", lambda plan, job: row)
    for model, alone in (("gradinit.3", True), ("metainit", True), ("randinit", False)):
        plan = replace(PLAN, model=model)
        context = replace(load_run_context(plan), config=replace(plan, device="cuda"))  # images stay on the CPU
        results = list(execution._results(context, plan.jobs(), None, None))
        assert (results[0][1].name == "alone") == alone


@pytest.mark.parametrize(
    "error", [RuntimeError("std::bad_alloc"), OSError(12, "Cannot allocate memory"), MemoryError()], ids=str
)
def test_all_that_says_that_memory_is_short(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(case: Case[Any]) -> dict[str, float]:
        raise error

    scored(short, monkeypatch)
    row, stage = runs.try_job(load_run_context(PLAN), PLAN.jobs()[0], BatchSizes(64))
    assert (row.status, stage) == ("failed", Stage.EVALUATE)


def test_short_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def hungry(case: Case[Any]) -> dict[str, float]:
        sizes.append(case.batch_size)
        if case.batch_size > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"top1": 0.1, "top5": 0.5}

    scored(hungry, monkeypatch)
    row = runs.evaluate(load_run_context(PLAN), Job("test", 0, 0))
    assert (row.status, row.batch_size, sizes) == ("ok", 16, [64, 32, 16])
    scored(lambda case: hungry(replace(case, batch_size=99)), monkeypatch)
    row = runs.evaluate(load_run_context(PLAN), Job("test", 0, 0))
    assert (row.status, row.batch_size) == ("failed", 8)
    assert "out of memory" in row.reason


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(("model", "tries"), [("gradinit", 5), ("metainit", 4)])
def test_short_memory_halves_the_batches_of_initialisers(
    model: str, tries: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not those of the training that follows, which would have more steps than with other initialisers."""
    shares: list[float] = []
    plan = replace(PLAN, model=model)

    def hungry(needed: float, network: nn.Module, setting: InitContext) -> None:
        shares.append(setting.batch_share)
        if setting.batch_share > needed:
            raise torch.OutOfMemoryError

    def results(needed: float) -> Row:
        shares.clear()
        scored(lambda case: {"top1": 0.1, "top5": 0.5}, monkeypatch)
        monkeypatch.setitem(METHODS, model, partial(hungry, needed))
        return (
            runs.evaluate(load_run_context(plan), job)
            if alone
            else next(row for _, row in execution._alone(load_run_context(plan), [job]))
        )

    @contextmanager
    def here() -> Iterator[WorkerPool]:
        execution_worker._this_worker.cache_clear()
        yield WorkerPool(None, 1)

    monkeypatch.setattr(execution, "fresh_processes", here)
    job = Job("test", 0, 0)
    row = results(1 / 4)
    assert (row.status, row.batch_size, shares) == ("ok", 64, [1.0, 0.5, 0.25])
    assert row.reason == "memory was short: initialised with 0.25 of the batch"
    row = results(0)
    assert (row.status, len(shares)) == ("failed", tries)


def test_initialisers_that_learn_nothing_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def hungry(model: nn.Module, setting: InitContext) -> None:
        tried.append(setting.batch_share)
        raise torch.OutOfMemoryError

    monkeypatch.setitem(METHODS, "randinit", hungry)
    row = runs.evaluate(load_run_context(PLAN), Job("test", 0, 0))
    assert (row.status, tried) == ("failed", [1.0])


def test_what_needs_more_than_its_share_of_memory_is_evaluated_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[str, int]] = []

    def hungry(case: Case[Any]) -> dict[str, float]:
        sizes.append((case.network.name, case.batch_size))
        if case.network.name == "test/0" and case.batch_size > 32:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return {"top1": 0.1, "top5": 0.5}

    @contextmanager
    def alone() -> Iterator[WorkerPool]:
        execution_worker._this_worker.cache_clear()
        sizes.append(("alone", 0))
        yield WorkerPool(None, 1)

    monkeypatch.setattr(execution, "fresh_processes", alone)
    scored(hungry, monkeypatch)
    rows = compute(load_run_context(PLAN), folder(tmp_path), None, 1)
    assert [(row.name, row.status, row.batch_size) for row in rows] == [
        *(("test/0", "ok", 32), ("test/1", "ok", 64)),
        *(("bnfree/0", "ok", 64), ("bnfree/1", "ok", 64)),
    ]
    assert sizes[:4] == [(row.name, 64) for row in rows]
    assert sizes[4:] == [("alone", 0), ("test/0", 64), ("alone", 0), ("test/0", 32)]


def test_only_networks_that_need_too_much_are_evaluated_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All their repetitions, without another try; not those that the worker whose limit was reached has already."""
    have, tried = "", list[tuple[str, str]]()
    too_little = {"test/0": ("half", "whole"), "bnfree/1": ("half",)}

    def hungry(case: Case[Any]) -> dict[str, float]:
        name = case.network.name
        tried.append((name, have))
        if have in too_little.get(name, ()):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return {"top1": 0.1, "top5": 0.5}

    @contextmanager
    def limited(share: float = 1.0) -> Iterator[None]:
        nonlocal have
        have = "half" if share == 0.5 else "whole"
        yield

    def returned() -> None:
        nonlocal have
        have = "alone"

    @contextmanager
    def worker(*args: object, **options: object) -> Iterator[WorkerPool]:
        execution_worker._this_worker.cache_clear()
        with ThreadPoolExecutor(1) as pool:
            yield WorkerPool(pool, 1)

    monkeypatch.setattr(execution, "start_workers", worker)
    monkeypatch.setattr(execution, "fresh_processes", worker)
    monkeypatch.setattr(memory, "limited", limited)
    monkeypatch.setattr(memory, "return_freed_memory", returned)
    scored(hungry, monkeypatch)
    plan = replace(PLAN, repeats=3)
    rows = dict(execution._in_processes(load_run_context(plan), plan.jobs(), 2))
    assert {job: row.status for job, row in rows.items()} == dict.fromkeys(plan.jobs(), "ok")
    counts = {f"{name}, {share}": count for (name, share), count in Counter(tried).items()}
    assert counts == {
        "test/1, half": 3,
        "bnfree/0, half": 3,
        "bnfree/1, half": 1,
        "bnfree/1, whole": 3,
        "test/0, half": 1,
        "test/0, whole": 1,
        "test/0, alone": 3,
    }
