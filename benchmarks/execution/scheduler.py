"""Scheduling of a run's jobs: in local processes, on a GPU or on a cluster."""

import gc
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from operator import attrgetter

from tqdm import tqdm

from benchmarks.execution import memory
from benchmarks.execution.jobs import Prepared, evaluate, prepare, try_job
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import Job, RunConfig
from benchmarks.execution.run_context import RunContext
from benchmarks.execution.run_folder import RunFolder
from benchmarks.execution.worker import Unfinished, evaluate_on_cluster, try_with_all_memory, try_within_share
from deepnets.utils.executors import available_cores, fresh_processes, start_workers

_SMALLEST_SHARE = 1 / 8  # of the memory; seldom do all workers need much at once
_network = attrgetter("group", "index")  # of a job

Results = Iterator[tuple[Job, Row]]


def compute(context: RunContext, folder: RunFolder, scheduler: str | None, processes: int | None) -> list[Row]:
    """Compute the rows of a run that do not exist yet, and return all, in the order of its jobs.

    Args:
        context: protocol, data and initializer of the run.
        folder: folder of the run, where rows are stored.
        scheduler: address of a Dask scheduler, whose workers evaluate the networks; images and weights must have the
            same paths there as on this machine.
        processes: number of local worker processes on the CPU, by default one for each core.

    Raises:
        InputError: no scheduler answers.
        FileError: the folder cannot be used, or workers were killed.
    """
    jobs = context.config.jobs()
    with folder.open() as rows:
        missing = [job for job in jobs if job not in rows]
        with tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit=" networks", smoothing=0.05) as bar:
            for job, row in _results(context, missing, scheduler, processes):
                folder.append(row)
                rows[job] = row
                bar.update()
                bar.set_postfix(failed=sum(r.status == "failed" for r in rows.values()))
        return [rows[job] for job in jobs]


def _results(context: RunContext, jobs: list[Job], scheduler: str | None, processes: int | None) -> Results:
    if scheduler is not None:
        with start_workers(scheduler, None, len(jobs)) as cluster:
            yield from cluster.compute(partial(evaluate_on_cluster, context.config), jobs)
    elif context.config.device == "cpu":
        yield from _in_processes(context, jobs, processes)
    elif context.initializer.learns:  # on the GPU too, which would be shared with another network
        with _frozen_objects():
            yield from ((job, evaluate(context, job)) for job in jobs)
    else:
        with _frozen_objects():
            yield from _one_ahead(context, jobs)


@contextmanager
def _frozen_objects() -> Iterator[None]:
    """Keep the garbage collector from looking through what the run keeps; building networks takes 2/3 of the time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _in_processes(context: RunContext, jobs: list[Job], processes: int | None) -> Results:
    """Let local processes share the memory; networks that need more than a share come later, one at a time."""
    most = min(available_cores() if processes is None else processes, len(jobs))
    for width in sorted({memory.processes(most), 1}, reverse=True):
        jobs = yield from _in_shares(context.config, jobs, width)
    yield from _alone(context, jobs)  # where memory is short, the system gets back what is freed


def _in_shares(config: RunConfig, jobs: list[Job], width: int) -> Generator[tuple[Job, Row], None, list[Job]]:
    """Yield the rows of networks that fit into a share of the memory; return the other jobs, with all repetitions.

    When a network turns out to be too large, all workers are replaced: theirs may have reached its limit.
    """
    waiting, too_large = deque(jobs), list[Job]()
    with memory.reused_in_new_processes():
        while waiting:
            not_tried = []
            for job, result in _until_one_is_too_large(config, waiting, width):
                if result is Unfinished.TOO_LARGE:
                    too_large.append(job)
                elif result is Unfinished.NOT_TRIED:
                    not_tried.append(job)
                else:
                    yield job, result
            networks = {_network(job) for job in too_large}
            queue = [*not_tried, *waiting]
            waiting = deque(job for job in queue if _network(job) not in networks)
            too_large += [job for job in queue if _network(job) in networks]
    return too_large


def _until_one_is_too_large(
    config: RunConfig, waiting: deque[Job], width: int
) -> Iterator[tuple[Job, Row | Unfinished]]:
    """Hand out jobs, which leave the queue, until one is too large; yield the results of all that were handed out."""
    all_fit = True

    def handed_out() -> Iterator[Job]:
        while waiting and all_fit:
            yield waiting.popleft()

    share = max(1 / width, _SMALLEST_SHARE)
    with start_workers(None, width, len(waiting), start="spawn") as pool:
        for job, result in pool.compute(partial(try_within_share, config, share), handed_out()):
            all_fit = all_fit and result is not Unfinished.TOO_LARGE
            yield job, result


def _alone(context: RunContext, jobs: list[Job]) -> Results:
    """Compute one job at a time; those that do not fit into all of the memory are tried again with smaller batches.

    Each time in a new process: PyTorch does not free what a second derivative that failed had built.
    """
    attempts = [(job, context.batch_sizes) for job in jobs]
    while attempts:
        smaller = []
        with fresh_processes() as pool:
            for (job, sizes), (row, short) in pool.compute(partial(try_with_all_memory, context.config), attempts):
                reduced = None if short is None else context.reduce(sizes, short)
                if reduced is None:
                    yield job, row
                else:
                    smaller.append((job, reduced))
        attempts = smaller


def _one_ahead(context: RunContext, jobs: list[Job]) -> Results:
    """Build and predict a network in another thread while the one before it is evaluated.

    Where memory was short for that, the network is evaluated again with nothing else in memory.
    """

    def ahead(job: Job) -> Prepared | Exception:
        try:
            return prepare(context, job)
        except Exception as error:  # raised again where it is counted
            return error

    with ThreadPoolExecutor(1) as pool:

        def begin(i: int) -> list[Future[Prepared | Exception]]:
            return [pool.submit(ahead, job) for job in jobs[i : i + 1]]

        following = begin(0)
        for i, job in enumerate(jobs):
            prepared = following.pop().result()
            following = begin(i + 1)
            row, short = try_job(context, job, context.batch_sizes, prepared)
            if short is not None:
                wait(following)
                following.clear()
                del prepared
                row = evaluate(context, job)
                following = begin(i + 1)
            yield job, row
