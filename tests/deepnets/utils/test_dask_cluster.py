"""Clusters that fail: nothing waits for good without a word."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deepnets.utils import dask_cluster, provenance
from deepnets.utils.dask_cluster import connect
from deepnets.utils.errors import FileError

distributed = pytest.importorskip("distributed")


def slow(number: int) -> int:
    time.sleep(0.2)
    return number


def test_something_else_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with (
            pytest.raises(ValueError, match="no Dask scheduler answers"),
            connect(f"tcp://127.0.0.1:{server.getsockname()[1]}"),
        ):
            pass
        assert time.monotonic() - start < 10


def test_no_workers_are_said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dask_cluster, "_NOTICE_SECONDS", 1)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        late = threading.Timer(4, cluster.scale, [1])
        late.start()
        with connect(cluster.scheduler_address) as workers:
            assert dict(workers.compute(slow, range(3))) == {0: 0, 1: 1, 2: 2}
        late.join()
    assert "has no workers; waiting for one" in capfd.readouterr().err


def test_workers_with_other_code_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with distributed.LocalCluster(n_workers=1, processes=True, dashboard_address=None) as cluster:
        ours = provenance.worker_state()
        monkeypatch.setattr(dask_cluster, "worker_state", lambda: {**ours, "torch": "0.1"})
        with (
            pytest.raises(FileError, match=r"a Dask worker has torch .* instead of 0\.1; start it with the same"),
            connect(cluster.scheduler_address) as workers,
        ):
            list(workers.compute(slow, range(3)))


def test_code_is_part_of_the_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def state(text: str) -> dict[str, str]:
        (tmp_path / "deepnets").mkdir(exist_ok=True)
        (tmp_path / "deepnets" / "a.py").write_text(text)
        return provenance.worker_state.__wrapped__()

    monkeypatch.setattr(provenance, "_REPOSITORY", tmp_path)
    assert state("x = 1") == state("x = 1") != state("x = 2")


def test_a_scheduler_that_dies_is_one_sentence() -> None:
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert scheduler.stderr is not None
    address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
    reader = threading.Thread(target=scheduler.stderr.read)  # so that it never blocks
    reader.start()
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--no-dashboard",
            "--no-nanny",
            "--nthreads",
            "1",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        start = time.monotonic()

        def kill_after_three() -> None:
            nonlocal start
            with connect(address) as workers:
                for number, _ in workers.compute(slow, range(1000)):
                    if number == 3:
                        scheduler.kill()
                        start = time.monotonic()

        with pytest.raises(FileError, match=r"the Dask cluster at .* failed"):
            kill_after_three()
        assert scheduler.wait(timeout=10) == -signal.SIGKILL  # its connections end a moment before it does
        assert time.monotonic() - start < 15
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
        reader.join()
        scheduler.stderr.close()
