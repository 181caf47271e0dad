"""Local processes that compute tasks, each watched over a pipe of its own.

A worker that is killed, as the system does when memory is short, is noticed within a second. Other workers go on,
because no worker shares a queue or a lock with another.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

from deepnets.utils.errors import FileError

Task = TypeVar("Task")
Result = TypeVar("Result")

_LOOK_SECONDS = 1.0  # at least so often dead workers are looked for: their children may keep their pipes open
_END_SECONDS = 5.0


class RemoteTracebackError(Exception):
    """The traceback of an error in a worker, as text."""

    def __str__(self) -> str:
        return f"in a worker:\n{self.args[0]}"


@dataclass(eq=False)
class _Worker:
    """A process, the pipe to it, and the tasks that it has: the first one is being computed."""

    process: BaseProcess
    pipe: Connection
    tasks: deque[tuple[int, Any]] = field(default_factory=deque)

    def dismiss(self, kindly: bool) -> None:
        """Ask the process to end, without waiting; kindly, it ends its own children."""
        if not kindly:
            self.process.terminate()
            return
        with suppress(OSError):
            self.pipe.send_bytes(_pickled(None))

    def end(self, kindly: bool) -> None:
        """End the process."""
        self.dismiss(kindly)
        self.process.join(_END_SECONDS)
        for stop in (self.process.terminate, self.process.kill):
            if self.process.is_alive():
                stop()
                self.process.join(_END_SECONDS)
        self.pipe.close()


class WorkerProcesses:
    """Local processes that compute tasks; a context manager that ends them.

    Args:
        width: number of processes.
        start: "fork" or "spawn".
        tasks_ahead: how many tasks a worker has at hand besides the one that it computes.
        single_task: a process computes one task only.
    """

    def __init__(self, width: int, start: str, tasks_ahead: int = 0, single_task: bool = False) -> None:
        self._context = get_context(start if start in get_all_start_methods() else None)
        self._width, self._most_tasks, self._single_task = width, 1 + tasks_ahead, single_task
        self._workers: list[_Worker] = []

    def __enter__(self) -> "WorkerProcesses":
        while len(self._workers) < self._width:  # now, before a progress bar starts a thread
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for end in (_Worker.dismiss, _Worker.end):
            for worker in self._workers:
                end(worker, kind is None)
        self._workers.clear()

    def compute(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield tasks and their results in the order in which they are finished.

        The task of a killed worker is given to another, once.

        Raises:
            FileError: the second worker of a task was killed too.
        """
        numbered = enumerate(tasks)
        returned: deque[tuple[int, Task]] = deque()  # from workers that were killed
        lost: set[int] = set()
        try:
            while self._hand_out(function, returned, numbered):
                for worker in self._ready():
                    result = _receive(worker)
                    if result is None:
                        self._mourn(worker, lost)
                        returned.extend(worker.tasks)
                        continue
                    _, task = worker.tasks.popleft()
                    if self._single_task:
                        self._end(worker, kindly=True)
                    yield task, result[0]
        finally:
            for worker in [worker for worker in self._workers if worker.tasks]:  # after an error
                self._end(worker, kindly=False)

    def _hand_out(
        self, function: Callable[[Any], Any], returned: deque[tuple[int, Any]], numbered: Iterator[tuple[int, Any]]
    ) -> bool:
        """Give tasks to workers that have too few, the idle ones first, and tell whether any worker has one."""
        for few in range(self._most_tasks):
            at = 0
            while at < self._width:
                if at < len(self._workers) and len(self._workers[at].tasks) > few:
                    at += 1
                    continue
                task = returned.popleft() if returned else next(numbered, None)
                if task is None:
                    break
                if at == len(self._workers):
                    self._start()
                worker = self._workers[at]
                worker.tasks.append(task)
                with suppress(OSError):  # killed: noticed when its result is received
                    worker.pipe.send_bytes(_pickled((function, task[1])))
                at += 1
        return any(worker.tasks for worker in self._workers)

    def _ready(self) -> list[_Worker]:
        """Wait for results, and for the end of workers that are killed; return the workers concerned."""
        while True:
            pipes = connection.wait([worker.pipe for worker in self._workers], _LOOK_SECONDS)
            ready = [worker for worker in self._workers if worker.pipe in pipes or not worker.process.is_alive()]
            if ready:
                return ready

    def _mourn(self, worker: _Worker, lost: set[int]) -> None:
        """Remove a dead worker, and note that the task that it computed is lost.

        Raises:
            FileError: it was lost before.
        """
        self._end(worker, kindly=False)
        if not worker.tasks:
            return
        number, _ = worker.tasks[0]
        if number in lost:
            raise FileError(
                "a worker was killed, and so was the one that took over its work, perhaps for lack of memory; "
                "the same command continues, best with fewer workers"
            )
        lost.add(number)
        tqdm.write("a worker was killed; another one takes over its work", file=sys.stderr)

    def _end(self, worker: _Worker, kindly: bool) -> None:
        self._workers.remove(worker)
        worker.end(kindly)

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, os.getpid()))  # type: ignore[attr-defined]
        process.start()
        theirs.close()  # so that its end is noticed, and later workers do not inherit it
        self._workers.append(_Worker(process, ours))


def _receive(worker: _Worker) -> tuple[Any] | None:
    """Return the result of a worker's first task, raise its error, or return None if the worker is dead."""
    try:
        if not worker.pipe.poll():
            return None
        content = worker.pipe.recv_bytes()
    except (EOFError, OSError):  # perhaps in the middle of a result
        return None
    succeeded, result, text = ForkingPickler.loads(content)
    if not succeeded:
        raise result from RemoteTracebackError(text)
    return (result,)


def _pickled(content: Any) -> bytes:
    return bytes(ForkingPickler.dumps(content))


def _work(pipe: Connection, parent: int) -> None:
    """Compute tasks until there are none; what a worker does.

    Results are sent in a thread, so that the next task is computed while the parent is busy.
    """
    # The parent ends its workers. A forked one has inherited its handlers, which would survive SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _watch_parent(parent)
    sending = threading.Thread()
    sending.start()
    while (task := pipe.recv()) is not None:
        answer = _answer(*task)
        sending.join()
        sending = threading.Thread(target=_send, args=(pipe, answer))
        sending.start()
    sending.join()


def _answer(function: Callable[[Any], Any], task: Any) -> bytes:
    """Return whether a task succeeded, its result or error, and the traceback, pickled."""
    try:
        return _pickled((True, function(task), ""))
    except BaseException as error:
        text = traceback.format_exc()
        try:
            answer = _pickled((False, error, text))
            ForkingPickler.loads(answer)  # some errors can be written, but not read
        except Exception:
            return _pickled((False, RuntimeError(f"{type(error).__name__}: {error}"), text))
        return answer


def _send(pipe: Connection, content: bytes) -> None:
    with suppress(OSError):  # the parent is gone
        pipe.send_bytes(content)


def _watch_parent(parent: int) -> None:
    """End this worker when its parent process is gone; it would wait for tasks for ever otherwise."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
