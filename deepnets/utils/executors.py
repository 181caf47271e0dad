"""Workers that compute tasks: this process, local processes, or those of a Dask cluster."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_all_start_methods, get_context
from typing import Any, Literal, TypeVar

from deepnets.utils.errors import FileError

_CONNECT_SECONDS = 10

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class WorkerPool:
    """Workers that compute tasks.

    Args:
        executor: runs functions in its workers; None stands for this process.
        width: how many tasks it computes at a time.
    """

    executor: Executor | None
    width: int

    def compute(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield tasks and their results in the order in which they are finished.

        Only a few more tasks than workers are submitted at a time, so that memory does not grow with their number.
        """
        if self.executor is None:
            for task in tasks:
                yield task, function(task)
            return
        waiting = iter(tasks)
        running: dict[Future[Result], Task] = {}
        try:
            while True:
                for task in islice(waiting, self.width + 2 - len(running)):
                    running[self.executor.submit(function, task)] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()


@contextmanager
def start_workers(
    scheduler: str | None, processes: int | None, n_tasks: int, start: Literal["fork", "spawn"] = "fork"
) -> Iterator[WorkerPool]:
    """Start workers, and end them when the block ends.

    Args:
        scheduler: address of a Dask scheduler whose workers compute; by default local processes do.
        processes: number of local processes, by default one for each available core.
        n_tasks: number of tasks; more processes are not started.
        start: "fork" starts quickly and needs no importable main module, and this process replaces a single worker;
            "spawn" is safe in processes with threads, such as those of torch.

    Raises:
        ValueError: no scheduler answers.
        FileError: a worker was killed, or the cluster failed.
    """
    if scheduler is not None:
        with _dask_client(scheduler) as client:
            yield WorkerPool(client.get_executor(), max(1, sum(client.nthreads().values())))
        return
    width = min(available_cores() if processes is None else processes, n_tasks)
    if width <= 1 and start == "fork":
        yield WorkerPool(None, 1)
        return
    with _processes(width, start) as pool:
        pool.submit(os.getpid).result()  # starts the workers now, before a progress bar starts a thread
        yield WorkerPool(pool, width)


@contextmanager
def fresh_processes() -> Iterator[WorkerPool]:
    """Compute each task in a new process, one at a time.

    Raises:
        FileError: a process was killed.
    """
    with _processes(1, "spawn", max_tasks_per_child=1) as pool:
        yield WorkerPool(pool, 1)


@contextmanager
def _processes(width: int, start: str, max_tasks_per_child: int | None = None) -> Iterator[ProcessPoolExecutor]:
    context = get_context(start if start in get_all_start_methods() else None)
    with ProcessPoolExecutor(
        width, context, initializer=_watch_parent, initargs=(os.getpid(),), max_tasks_per_child=max_tasks_per_child
    ) as pool:
        try:
            yield pool
        except BrokenExecutor:
            raise FileError(
                "a worker was killed, perhaps for lack of memory; the same command continues, best with fewer workers"
            ) from None


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _watch_parent(parent: int) -> None:
    """End this worker when its parent process is gone; it would wait for tasks for ever otherwise."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _dask_client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError:
        raise ValueError("--scheduler needs the extra 'cluster': pip install 'deepnets1m[cluster]'") from None
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address!r} ({error})") from None
    try:
        with client:
            yield client
    except (KilledWorker, CommClosedError) as error:
        raise FileError(f"the Dask cluster at {address!r} failed ({error}); the same command continues") from None
