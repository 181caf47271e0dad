"""Workers that compute tasks: this process, local processes, or those of a Dask cluster."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import Literal, Protocol, TypeVar

from deepnets.utils.worker_processes import WorkerProcesses

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers(Protocol):
    """Whatever computes tasks."""

    def compute(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield tasks and their results in the order in which they are finished.

        Only a few more tasks than workers are handed out at a time, so that memory does not grow with their number.
        """
        ...


class WorkerPool:
    """Workers that compute tasks.

    Args:
        executor: runs functions in its workers; None stands for this process.
        width: number of tasks that it computes at a time.
    """

    def __init__(self, executor: Executor | None, width: int) -> None:
        self._executor, self._width = executor, width

    def compute(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield tasks and their results, see `Workers`."""
        if self._executor is None:
            for task in tasks:
                yield task, function(task)
            return
        waiting = iter(tasks)
        running: dict[Future[Result], Task] = {}
        try:
            while True:
                for task in islice(waiting, max(0, self._num_workers() + 2 - len(running))):
                    running[self._executor.submit(function, task)] = task
                if not running:
                    return
                for future in self._wait(running):
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()

    def _num_workers(self) -> int:
        return self._width

    def _wait(self, running: Iterable[Future[Result]]) -> Iterable[Future[Result]]:
        """Wait until at least one is finished, and return those that are."""
        return wait(running, return_when=FIRST_COMPLETED).done


@contextmanager
def start_workers(
    scheduler: str | None, processes: int | None, n_tasks: int, start: Literal["fork", "spawn"] = "fork"
) -> Iterator[Workers]:
    """Start workers, and end them when the block ends.

    A worker that is killed is replaced, and its task is given to another; a task whose second worker is killed too
    ends the work.

    Args:
        scheduler: address of a Dask scheduler whose workers compute; by default local processes do.
        processes: number of local processes, by default one for each available core.
        n_tasks: number of tasks; more processes are not started.
        start: "fork" starts quickly and needs no importable main module, and this process replaces a single worker;
            "spawn" is safe in processes with threads, such as those of torch.

    Raises:
        InputError: no scheduler answers.
        FileError: workers were killed, the cluster failed, or its workers run other code.
    """
    if scheduler is not None:
        from deepnets.utils.dask_cluster import connect

        with connect(scheduler) as cluster:
            yield cluster
        return
    width = min(available_cores() if processes is None else processes, n_tasks)
    if width <= 1 and start == "fork":
        yield WorkerPool(None, 1)
        return
    # Shards are large, so forked workers have the next one at hand while this process writes the last one.
    with WorkerProcesses(max(width, 1), start, tasks_ahead=1 if start == "fork" else 0) as workers:
        yield workers


@contextmanager
def fresh_processes() -> Iterator[Workers]:
    """Compute each task in a new process, one at a time.

    Raises:
        FileError: processes were killed.
    """
    with WorkerProcesses(1, "spawn", single_task=True) as workers:
        yield workers


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
