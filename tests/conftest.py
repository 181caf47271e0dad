"""What tests share. Those that run in several processes at once share the cores: one thread each."""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deepnets.utils.executors import WorkerPool, Workers, start_workers

if "PYTEST_XDIST_WORKER" in os.environ:  # set before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def digits() -> Any:
    """Of 8 pixels, for small networks; modules whose networks need more have their own."""
    from ghn_models.images.datasets import load_images

    return load_images("digits", None, 8)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single worker of a run is this process, which can be looked into, starts at once and keeps nothing."""
    from benchmarks.execution import scheduler, worker

    @contextmanager
    def here() -> Iterator[WorkerPool]:
        worker._this_worker.cache_clear()  # like a new process
        yield WorkerPool(None, 1)

    def some(scheduler: Any, processes: Any, *args: Any, **options: Any) -> AbstractContextManager[Workers]:
        alone = scheduler is None and processes == 1
        return here() if alone else start_workers(scheduler, processes, *args, **options)

    monkeypatch.setattr(scheduler, "start_workers", some)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder of leaderboards with one record."""
    from benchmarks.leaderboard import Submit
    from benchmarks.records.record_files import write_record
    from tests.support.made_up_records import made_up_record
    from tests.support.paths import LEADERBOARDS

    root = tmp_path / "leaderboards"
    (root / "runs").mkdir(parents=True)
    shutil.copy(LEADERBOARDS / "datasets.json", root)
    write_record(tmp_path / "run", *made_up_record())
    assert Submit(tmp_path / "run", root).run() == 0
    return root
