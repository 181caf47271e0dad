"""Workers of a Dask cluster: waiting ends or is reported, and workers with other code are refused."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from tqdm import tqdm

from deepnets.utils.errors import FileError, InputError, one_line
from deepnets.utils.executors import WorkerPool
from deepnets.utils.provenance import worker_state

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT_SECONDS = 10.0
_NOTICE_SECONDS = 30.0


class DaskWorkers(WorkerPool):
    """Workers of a Dask cluster.

    Args:
        client: connected to the scheduler.
        address: address of the scheduler.
    """

    def __init__(self, client: Any, address: str) -> None:
        super().__init__(client.get_executor(), 1)
        self._client, self._address = client, address

    def compute(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield tasks and their results in the order in which they are finished.

        Raises:
            FileError: a worker runs other code.
        """
        return super().compute(partial(_compute_checked, worker_state(), function), tasks)

    def _num_workers(self) -> int:
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def _wait(self, running: Iterable[Future[Result]]) -> Iterable[Future[Result]]:
        """Wait until some are finished, and say so when that is long because there are no workers."""
        noticed = time.monotonic()
        while not (done := wait(running, timeout=1, return_when=FIRST_COMPLETED).done):
            if self._client.nthreads():
                noticed = time.monotonic()
            elif time.monotonic() - noticed > _NOTICE_SECONDS:
                tqdm.write(f"the Dask scheduler at {self._address} has no workers; waiting for one", file=sys.stderr)
                noticed = time.monotonic()
        return done


@contextmanager
def connect(address: str) -> Iterator[DaskWorkers]:
    """Connect to a Dask scheduler.

    Raises:
        InputError: no scheduler answers.
        FileError: the cluster failed, or its workers run other code.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError:
        raise InputError("--scheduler needs the extra 'cluster': pip install 'deepnets1m[cluster]'") from None
    try:
        # Something else may accept the connection, and never answer.
        asyncio.run(asyncio.wait_for(_identity(address), _CONNECT_SECONDS))
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError, CommClosedError) as error:  # a TimeoutError is an OSError
        raise InputError(f"no Dask scheduler answers at {address!r} ({one_line(error)})") from None
    try:
        with client:
            yield DaskWorkers(client, address)
    except (KilledWorker, CommClosedError, CancelledError, asyncio.CancelledError) as error:
        raise FileError(
            f"the Dask cluster at {address!r} failed ({one_line(error)}); the same command continues"
        ) from None


async def _identity(address: str) -> None:
    """Ask a scheduler who it is."""
    from distributed import rpc

    async with rpc(address) as scheduler:
        await scheduler.identity()


def _compute_checked(expected: Mapping[str, str], function: Callable[[Task], Result], task: Task) -> Result:
    """Compute a task on a worker whose versions and code are those of the process that asks."""
    own = worker_state()
    different = [
        f"{name} {own.get(name)} instead of {value}" for name, value in expected.items() if own.get(name) != value
    ]
    if different:
        raise FileError(f"a Dask worker has {', '.join(different)}; start it with the same installation")
    return function(task)
