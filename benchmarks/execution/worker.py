"""Functions that worker processes run: they load the run once and keep it from one job to the next."""

import gc
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from benchmarks.core.evaluation_networks import GLOBAL_RNG_LOCK
from benchmarks.execution import memory
from benchmarks.execution.jobs import Trial, evaluate, try_job
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import Job, RunConfig
from benchmarks.execution.run_context import BatchSizes, RunContext, load_run_context


class Unfinished(Enum):
    """Why a worker has no row for a job."""

    TOO_LARGE = "it needs more than the worker's share of the memory"
    NOT_TRIED = "the worker had reached its limit before"


@dataclass
class _Worker:
    """State of a worker process.

    Args:
        context: protocol, data and initializer of the run.
        reached_limit: a network took all of the memory. It leaves holes, so the process gets no other network.
    """

    context: RunContext
    reached_limit: bool = False


@lru_cache(1)
def _this_worker(config: RunConfig) -> _Worker:
    """Return this process as a worker of a run. Only worker processes may call it: they belong to one run."""
    context = load_run_context(config)
    gc.collect()
    gc.freeze()  # what a process keeps anyhow is not looked through again and again; building networks takes 2/3
    return _Worker(context)


def try_within_share(config: RunConfig, share: float, job: Job) -> Row | Unfinished:
    """Compute the row of a job if it needs no more than a share of the memory.

    Args:
        config: configuration of the run.
        share: share of the machine's memory that the process may use.
        job: the network and the repetition.
    """
    worker = _this_worker(config)
    if worker.reached_limit:
        return Unfinished.NOT_TRIED
    with memory.limited(share):
        row, short = try_job(worker.context, job, worker.context.batch_sizes)
    worker.reached_limit = short is not None
    return Unfinished.TOO_LARGE if worker.reached_limit else row


def try_with_all_memory(config: RunConfig, attempt: tuple[Job, BatchSizes]) -> Trial:
    """Compute the row of a job, with these batch sizes, in a process that has all of the memory and no other job."""
    with memory.limited():
        memory.return_freed_memory()
        return try_job(_this_worker(config).context, *attempt)


def evaluate_on_cluster(config: RunConfig, job: Job) -> Row:
    """Compute the row of a job on a Dask worker, which may have several threads: random numbers are the process's."""
    with GLOBAL_RNG_LOCK, memory.limited() if config.device == "cpu" else nullcontext():
        return evaluate(_this_worker(config).context, job)
