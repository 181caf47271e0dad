"""Results of a run, in local processes, on a GPU or on a cluster; each is stored as soon as it exists."""

import json
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from benchmarks.core.evaluation_networks import GLOBAL_RNG_LOCK
from benchmarks.core.protocol import ROW_COLUMNS
from benchmarks.execution import memory
from benchmarks.execution.jobs import Batches, Job, Prepared, Row, RunConfig, Stage, attempt, context, evaluate, prepare
from benchmarks.protocols.registry import get_protocol
from deepnets.utils.atomic_files import append_json_line
from deepnets.utils.executors import available_cores, fresh_processes, start_workers
from deepnets.utils.run_directory import RunDirectory

_SMALLEST_SHARE = 1 / 8  # of the memory; seldom do all workers need much at once
_network = attrgetter("group", "index")  # of a job
_reached_limit = False  # whether this worker did

Unanswered = Literal["unfit", "not tried"]
"""Of a job that a worker has no results of: it needs too much memory, or the worker had reached its limit before."""


class RunFolder:
    """The folder of a run: its plan and the lines of results that exist.

    Args:
        path: the folder; made if it is missing.
        identity: what the run is; a folder with another one is refused.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self._directory = RunDirectory(path, identity, "run")
        self._rows = path / "rows.jsonl"

    def check(self) -> None:
        """Raise FileError if another run is in the folder."""
        self._directory.check()

    @contextmanager
    def open(self) -> Iterator[dict[Job, Row]]:
        """The lines of results that exist; no other process can work on the run meanwhile.

        Raises:
            FileError: another run is in the folder, or another process works on this one.
        """
        with self._directory.locked():
            yield self._read()

    def _read(self) -> dict[Job, Row]:
        """Lines by job; one that was cut off by a kill is none."""
        kind = get_protocol(self.identity["protocol"]["name"])
        needed = {"ok": {"seconds", *kind.row_columns}, "failed": {"seconds", *ROW_COLUMNS}}
        rows = {}
        for line in self._rows.read_text(errors="replace").splitlines() if self._rows.exists() else []:
            try:
                row = json.loads(line)
                if needed[row["status"]] <= row.keys():
                    rows[Job(row["group"], row["index"], row["repeat"])] = row
            except (ValueError, KeyError, TypeError):
                continue
        return rows

    def append(self, row: Row) -> None:
        """Store a line of results for good."""
        append_json_line(self._rows, row)


def compute(plan: RunConfig, folder: RunFolder, scheduler: str | None, processes: int | None) -> list[Row]:
    """All results of a run, in the order of its jobs; those that exist are not computed again.

    Args:
        plan: of the run.
        folder: where results are stored.
        scheduler: address of a Dask scheduler, whose workers evaluate; images and weights have to be where they are
            here.
        processes: local ones on the CPU, by default one for each core.

    Raises:
        ValueError: no scheduler answers.
        FileError: the folder cannot be used, or workers were killed.
    """
    jobs = plan.jobs()
    with folder.open() as rows:
        missing = [job for job in jobs if job not in rows]
        with tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit=" networks", smoothing=0.05) as bar:
            for job, row in _results(plan, missing, scheduler, processes):
                folder.append(row)
                rows[job] = row
                bar.update()
                bar.set_postfix(failed=sum(r["status"] == "failed" for r in rows.values()))
        return [rows[job] for job in jobs]


def _results(
    plan: RunConfig, jobs: list[Job], scheduler: str | None, processes: int | None
) -> Iterator[tuple[Job, Row]]:
    if scheduler is not None:
        with start_workers(scheduler, None, len(jobs)) as pool:
            yield from pool.compute(partial(_on_cluster, plan), jobs)
    elif plan.device == "cpu":
        yield from _in_processes(plan, jobs, processes)
    elif context(plan).initializer.learns:  # on the GPU too, which would be shared with another network
        yield from ((job, evaluate(plan, job)) for job in jobs)
    else:
        yield from _one_ahead(plan, jobs)


def _in_processes(plan: RunConfig, jobs: list[Job], processes: int | None) -> Iterator[tuple[Job, Row]]:
    """Local processes share the memory; networks that need more than a share come later, one at a time."""
    most = min(available_cores() if processes is None else processes, len(jobs))
    context(plan)  # which each worker has, too
    for width in sorted({memory.processes(most), 1}, reverse=True):
        jobs = yield from _sharing(plan, jobs, width)
    yield from _alone(plan, jobs)  # where memory is short, the system gets back what is freed


def _sharing(plan: RunConfig, jobs: list[Job], width: int) -> Generator[tuple[Job, Row], None, list[Job]]:
    """Results of the networks that fit into a share of the memory; the jobs of the others, with all repetitions."""
    waiting, unfit = deque(jobs), list[Job]()
    with memory.reused_in_new_processes():
        while waiting:
            not_tried = []
            for job, row in _until_unfit(plan, waiting, width):
                if row == "unfit":
                    unfit.append(job)
                elif row == "not tried":
                    not_tried.append(job)
                else:
                    yield job, row
            large = {_network(job) for job in unfit}
            queue = [*not_tried, *waiting]
            waiting = deque(job for job in queue if _network(job) not in large)
            unfit += [job for job in queue if _network(job) in large]
    return unfit


def _until_unfit(plan: RunConfig, waiting: deque[Job], width: int) -> Iterator[tuple[Job, Row | Unanswered]]:
    """Results of jobs, which leave the queue, until one has none for want of memory."""
    fit = True

    def handed_out() -> Iterator[Job]:
        while waiting and fit:
            yield waiting.popleft()

    share = max(1 / width, _SMALLEST_SHARE)
    with start_workers(None, width, len(waiting), start="spawn") as pool:
        for job, row in pool.compute(partial(_with_share, plan, share), handed_out()):
            fit = fit and row != "unfit"
            yield job, row


def _alone(plan: RunConfig, jobs: list[Job]) -> Iterator[tuple[Job, Row]]:
    """Results of one job at a time; those that do not fit into all of the memory are tried again with smaller batches.

    Each time in a new process: PyTorch does not free what a second derivative that failed had built.
    """
    here = context(plan)
    trials = [(job, here.batches) for job in jobs]
    while trials:
        unfit = []
        with fresh_processes() as pool:
            for (job, batches), (row, short) in pool.compute(partial(_with_all_memory, plan), trials):
                smaller = None if short is None else here.smaller(batches, short)
                if smaller is None:
                    yield job, row
                else:
                    unfit.append((job, smaller))
        trials = unfit


def _on_cluster(plan: RunConfig, job: Job) -> Row:
    """Workers of a cluster may have several threads, but random numbers belong to the process."""
    with GLOBAL_RNG_LOCK:
        return evaluate(plan, job)


def _with_share(plan: RunConfig, share: float, job: Job) -> Row | Unanswered:
    """The results of a job, if it needs no more than this share of the memory.

    What a network leaves in memory has holes, so a worker that reached its limit cannot be trusted with another one.
    """
    global _reached_limit
    if _reached_limit:
        return "not tried"
    memory.limit(share)
    row, short = attempt(plan, job, context(plan).batches)
    _reached_limit = short is not None
    return "unfit" if _reached_limit else row


def _with_all_memory(plan: RunConfig, trial: tuple[Job, Batches]) -> tuple[Row, Stage | None]:
    memory.limit()
    memory.return_what_is_freed()
    return attempt(plan, *trial)


def _one_ahead(plan: RunConfig, jobs: list[Job]) -> Iterator[tuple[Job, Row]]:
    """A network is built and predicted by another thread while the one before it is evaluated.

    Where memory was short for that, the network is evaluated again with nothing else in memory.
    """

    def ahead(job: Job) -> Prepared | Exception:
        try:
            return prepare(plan, job)
        except Exception as error:  # raised again where it is counted
            return error

    batches = context(plan).batches
    with ThreadPoolExecutor(1) as pool:

        def begin(i: int) -> list[Future[Prepared | Exception]]:
            return [pool.submit(ahead, job) for job in jobs[i : i + 1]]

        following = begin(0)
        for i, job in enumerate(jobs):
            prepared = following.pop().result()
            following = begin(i + 1)
            row, short = attempt(plan, job, batches, prepared)
            if short is not None:
                wait(following)
                following.clear()
                del prepared
                row = evaluate(plan, job)
                following = begin(i + 1)
            yield job, row
