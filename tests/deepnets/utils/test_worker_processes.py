"""Processes that compute tasks: killed ones are noticed and replaced, whatever they were doing."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest

from deepnets.utils.command_line import sigterm_interrupts
from deepnets.utils.errors import FileError
from deepnets.utils.executors import fresh_processes, start_workers
from deepnets.utils.worker_processes import RemoteTracebackError, WorkerProcesses


@pytest.fixture(autouse=True)
def no_orphans() -> Iterator[None]:
    yield
    assert not active_children()


def large(seconds: float, number: int) -> bytes:
    time.sleep(seconds)
    return bytes([number % 256]) * 3_000_000  # more than a pipe holds: a kill may cut it


def kill_first(folder: Path, number: int) -> int:
    """Kill the worker that computes task 3, the first time."""
    if number == 3 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def kill_always(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_work_of_a_killed_worker_is_given_to_another(
    start: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with WorkerProcesses(2, start, tasks_ahead=1) as workers:
        results = dict(workers.compute(partial(kill_first, tmp_path), range(10)))
    assert results == {number: number**2 for number in range(10)}
    assert capfd.readouterr().err.count("a worker was killed; another one takes over its work") == 1


def test_work_that_kills_two_workers_is_one_sentence() -> None:
    with pytest.raises(FileError, match="a worker was killed, and so was the one"), start_workers(None, 2, 9) as pool:
        list(pool.compute(kill_always, range(100)))


def test_fresh_processes_that_are_killed(tmp_path: Path) -> None:
    with fresh_processes() as pool:
        assert dict(pool.compute(partial(kill_first, tmp_path), range(2, 5))) == {2: 4, 3: 9, 4: 16}


def test_workers_killed_at_random() -> None:
    """While they compute, send and wait; the parent treats SIGTERM as Ctrl-C, as commands do."""
    rng, done = random.Random(0), threading.Event()

    def kill_some() -> None:
        while not done.wait(rng.uniform(0.1, 0.3)):
            pids = [worker.process.pid for worker in list(workers._workers)]
            with suppress(ProcessLookupError):  # killed before
                os.kill(rng.choice(pids) or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill_some)
    with sigterm_interrupts(), WorkerProcesses(3, "fork", tasks_ahead=1) as workers:
        killer.start()
        results: dict[int, tuple[int, int]] = {}
        try:
            while missing := [n for n in range(60) if n not in results]:
                with suppress(FileError):  # a task was lost twice
                    results.update((n, (len(r), r[0])) for n, r in workers.compute(partial(large, 0.005), missing))
        finally:
            done.set()
            killer.join()
    assert results == {n: (3_000_000, n) for n in range(60)}


def fail(number: int) -> int:
    raise LookupError(f"task {number}")


class UnsendableError(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock")
        self.lock = threading.Lock()


def fail_unsendably(number: int) -> int:
    raise UnsendableError


def return_function(number: int) -> Callable[[], int]:
    return lambda: number


def test_errors_keep_their_tracebacks() -> None:
    with WorkerProcesses(2, "fork") as workers:
        with pytest.raises(LookupError, match="task 0") as caught:
            list(workers.compute(fail, range(1)))
        assert isinstance(caught.value.__cause__, RemoteTracebackError)
        assert "in fail" in str(caught.value.__cause__)
        with pytest.raises(RuntimeError, match="UnsendableError: with a lock"):
            list(workers.compute(fail_unsendably, range(1)))
        with pytest.raises(Exception, match="pickle"):
            list(workers.compute(return_function, range(1)))


def test_an_abandoned_computation_leaves_nothing_behind() -> None:
    with WorkerProcesses(2, "fork", tasks_ahead=1) as workers:
        assert len(next(workers.compute(partial(large, 0.0), range(9)))[1]) == 3_000_000
        assert sorted(workers.compute(abs, [-5, -6])) == [(-6, 6), (-5, 5)]


def test_tasks_are_not_taken_long_before_they_are_computed() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        while taken < 99:
            taken += 1
            yield taken

    with WorkerProcesses(2, "fork", tasks_ahead=1) as workers:
        for count, _ in enumerate(workers.compute(abs, tasks()), 1):
            assert taken <= count + 4
    assert taken == 99


def test_interrupted_at_once(tmp_path: Path) -> None:
    """SIGINT to the parent alone does not wait for tasks."""
    code = (
        "from deepnets.utils.worker_processes import WorkerProcesses; import time\n"
        "with WorkerProcesses(2, 'fork') as workers:\n"
        "    print('started', flush=True)\n"
        "    list(workers.compute(time.sleep, [60, 60]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(15) != 0
    process.stdout.close()
