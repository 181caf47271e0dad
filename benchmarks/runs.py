"""A run: a model, a protocol and networks; its results are lines that are stored as soon as they exist."""

import gc
import json
import time
import warnings
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from benchmarks import memory
from benchmarks.ensemble import members
from benchmarks.folders import claimed
from benchmarks.initializers import Initializer, Setting, Untrained, initializer
from benchmarks.networks import GENERATOR, Subject, subject, subjects
from benchmarks.protocol import ROW_COLUMNS, Case, Protocol, Task
from benchmarks.protocols import protocol
from benchmarks.scorers import Scorer, by_accuracy, scorer
from deepnets.executors import fresh_processes, workers
from deepnets.files import append_line
from deepnets.sampling import SPLITS
from ghn_models.images import ImageError, ImageTask
from ghn_models.training.step import is_out_of_memory

_SMALLEST_SHARE = 1 / 8  # of the memory; seldom do all workers need much at once
_reached_limit = False  # whether this worker did


@dataclass(frozen=True)
class Job:
    """One line of results to be: a network and which repetition it is."""

    group: str
    index: int
    repeat: int


Row = dict[str, Any]
"""One line of results."""


@dataclass(frozen=True)
class Plan:
    """What is evaluated on what, and how; equal plans give equal results.

    Args:
        protocol: its name.
        settings: its options.
        model: name of an initializer, see `benchmarks.initializers`.
        dataset, data_dir, image_size: images, as the protocol loads them, see `load_images`.
        groups: networks, see `benchmarks.networks`.
        num: the first networks of each group, or all.
        seed: of the run.
        repeats: how often each network is evaluated, with other seeds.
        orth_layer: the first layer that NAME_orth makes orthogonal.
        random_weights: the GHN is not trained.
        device: where networks run.
    """

    protocol: str
    settings: Any
    model: str
    dataset: str
    groups: tuple[str, ...]
    data_dir: str | None = None
    image_size: int = 32
    num: int | None = None
    seed: int = 0
    repeats: int = 1
    orth_layer: int = 0
    random_weights: bool = False
    device: str = "cpu"

    def networks(self) -> dict[str, int]:
        """Number of networks by group."""
        return {group: len(subjects(group, self.num)) for group in self.groups}

    def jobs(self) -> list[Job]:
        """All lines of results, in their order."""
        return jobs_of(self.networks(), self.repeats)


def jobs_of(networks: dict[str, int], repeats: int) -> list[Job]:
    """All lines of results, in their order, of the first networks of each group."""
    return [
        Job(group, index, repeat)
        for group, count in networks.items()
        for index in range(count)
        for repeat in range(repeats)
    ]


@dataclass(frozen=True)
class Context:
    """What a worker keeps from one line of results to the next."""

    protocol: Protocol
    task: Task
    initializer: Initializer
    scorer: Scorer


@lru_cache(1)
def context(plan: Plan) -> Context:
    """Images and model of a run.

    Raises:
        ValueError: an unknown name, images or weights that are not there, or a classifier for other classes.
    """
    kind = protocol(plan.protocol)
    task = kind.load(plan.dataset, plan.data_dir, plan.image_size).to(plan.device)
    untrained = Untrained(task.num_classes, plan.image_size, plan.seed) if plan.random_weights else None
    init, scores = (scorer(plan.model) if kind.scores else None) or (
        initializer(plan.model, plan.device, plan.orth_layer, untrained),
        by_accuracy,
    )
    if kind.needs_classifier and init.num_classes not in (None, task.num_classes):
        raise ValueError(
            f"{init.name} predicts classifiers of {init.num_classes} classes, and {task.name} has {task.num_classes}; "
            f"{kind.name} needs a data set with as many, protocols that train accept any"
        )
    gc.collect()
    gc.freeze()  # what a process keeps anyhow is not looked through again and again; building networks takes 2/3
    return Context(kind, task, init, scores)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network with its first parameters."""

    subject: Subject
    model: nn.Module
    seed: int
    params: int


def prepare(plan: Plan, job: Job) -> Prepared:
    """Build the network of a job and give it its parameters."""
    with GENERATOR:
        return _prepare(plan, job)


def _prepare(plan: Plan, job: Job) -> Prepared:
    here = context(plan)
    network = subject(job.group, job.index)
    words = [plan.seed, zlib.crc32(job.group.encode()), job.index, job.repeat]
    seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
    # Only the generator of the CPU: on a GPU the last network may still be in training.
    generator = torch.default_generator.manual_seed(seed)
    # A GHN predicts all that networks of DeepNets-1M use, if these have as many classes as its classifiers.
    initialize = job.group not in SPLITS or here.initializer.num_classes != here.task.num_classes
    model, graph = network.build(plan.image_size, here.task.num_classes, initialize)
    params = sum(p.numel() for p in model.parameters())
    images = here.task if isinstance(here.task, ImageTask) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters that are not predicted keep their initialisation
        for name, member in zip(network.name.split("+"), members(model), strict=True):
            beta = here.protocol.beta(plan.settings)
            setting = Setting(name, graph, images, plan.image_size, generator, beta, initialize)
            here.initializer.apply(member, setting)
    return Prepared(network, model.to(plan.device), seed % 2**31, params)


def evaluate(plan: Plan, job: Job, prepared: "Prepared | Exception | None" = None) -> Row:
    """The results of a job. What a network cannot do is a result too: it failed, with the reason.

    A network that does not fit into memory is tried again with half the batch.

    Args:
        plan: of the run.
        job: which network.
        prepared: the network, if it was built before, or what happened.
    """
    if plan.device == "cpu":
        memory.limit()
    start = time.perf_counter()
    for batch_size in context(plan).protocol.batch_sizes:
        row, fits = _attempt(plan, job, batch_size, prepared)
        prepared = None
        if fits:
            break
    return {**row, "seconds": time.perf_counter() - start}


def _attempt(plan: Plan, job: Job, batch_size: int, prepared: "Prepared | Exception | None" = None) -> tuple[Row, bool]:
    """The results of a job with batches of this size, and whether it fits into memory."""
    if plan.device == "cpu":
        torch.set_num_threads(1)  # the same sums for any number of workers; cores work on networks of their own
    here, start = context(plan), time.perf_counter()
    row: Row = {
        "params": 0,
        "group": job.group,
        "index": job.index,
        "repeat": job.repeat,
        "name": subject(job.group, job.index).name,
        "batch_size": batch_size,
    }
    fits = True
    try:
        if isinstance(prepared, Exception):
            raise prepared
        prepared = prepare(plan, job) if prepared is None else prepared
        row["params"] = prepared.params
        case = Case(prepared.model, here.task, batch_size, prepared.seed, prepared.subject, here.scorer)
        done: Row = {"status": "ok", "reason": "", **here.protocol.evaluate(case, plan.settings)}
    except (ImageError, OSError):  # of no network in particular
        raise
    except Exception as error:
        fits = not is_out_of_memory(error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        done = {"status": "failed", "reason": reason}
    return {**row, "seconds": time.perf_counter() - start, **done}, fits


def check_device(device: str) -> None:
    """Raise ValueError if there is no such device."""
    gpus = torch.cuda.device_count()
    accepted = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if device not in accepted:
        what = "" if gpus else " (there is no CUDA GPU)"
        raise ValueError(f"there is no device {device!r}{what}; accepted: {', '.join(accepted)}")


class RunFolder:
    """The folder of a run: its plan and the lines of results that exist.

    Args:
        path: the folder; made if it is missing.
        identity: what the run is; a folder with another one is refused.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self._rows = path / "rows.jsonl"

    @contextmanager
    def open(self) -> Iterator[dict[Job, Row]]:
        """The lines of results that exist; no other process can work on the run meanwhile.

        Raises:
            FileError: another run is in the folder, or another process works on this one.
        """
        with claimed(self.path, self.identity, "run"):
            yield self._read()

    def _read(self) -> dict[Job, Row]:
        """Lines by job; one that was cut off by a kill is none."""
        kind = protocol(self.identity["protocol"]["name"])
        needed = {"ok": {"seconds", *kind.row_columns}, "failed": {"seconds", *ROW_COLUMNS}}
        rows = {}
        for line in self._rows.read_text().splitlines() if self._rows.exists() else []:
            try:
                row = json.loads(line)
                if needed[row["status"]] <= row.keys():
                    rows[Job(row["group"], row["index"], row["repeat"])] = row
            except (ValueError, KeyError, TypeError):
                continue
        return rows

    def append(self, row: Row) -> None:
        """Store a line of results for good."""
        append_line(self._rows, row)


def compute(plan: Plan, folder: RunFolder, scheduler: str | None, processes: int | None) -> list[Row]:
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


def _results(plan: Plan, jobs: list[Job], scheduler: str | None, processes: int | None) -> Iterator[tuple[Job, Row]]:
    if scheduler is not None:
        with workers(scheduler, None, len(jobs)) as those:
            yield from those.compute(partial(_on_cluster, plan), jobs)
    elif plan.device == "cpu":
        yield from _in_processes(plan, jobs, processes)
    else:
        yield from _one_ahead(plan, jobs)


def _in_processes(plan: Plan, jobs: list[Job], processes: int | None) -> Iterator[tuple[Job, Row]]:
    """Local processes share the memory; networks that need more than a share come at the end."""
    waiting, unfit = deque(jobs), list[Job]()
    with memory.reused_in_new_processes():
        while waiting:
            for job, row in _until_unfit(plan, waiting, processes):
                if row is None:
                    unfit.append(job)
                else:
                    yield job, row
    yield from _alone(plan, unfit)  # where memory is short, the system gets back what is freed


def _until_unfit(plan: Plan, waiting: deque[Job], processes: int | None) -> Iterator[tuple[Job, Row | None]]:
    """Results of jobs, which leave the queue, until one has none for want of memory."""
    fit = True

    def handed_out() -> Iterator[Job]:
        while waiting and fit:
            yield waiting.popleft()

    with workers(None, processes, len(waiting), start="spawn") as those:
        share = max(1 / those.width, _SMALLEST_SHARE)
        for job, row in those.compute(partial(_with_share, plan, share), handed_out()):
            fit = fit and row is not None
            yield job, row


def _alone(plan: Plan, jobs: list[Job]) -> Iterator[tuple[Job, Row]]:
    """Results of one job at a time; those that do not fit into all of the memory are tried again with half the batch.

    Each time in a new process: PyTorch does not free what a second derivative that failed had built.
    """
    sizes = context(plan).protocol.batch_sizes
    for batch_size in sizes:
        if not jobs:
            return
        unfit = []
        with fresh_processes() as those:
            for job, (row, fits) in those.compute(partial(_with_all_memory, plan, batch_size), jobs):
                if fits or batch_size == sizes[-1]:
                    yield job, row
                else:
                    unfit.append(job)
        jobs = unfit


def _on_cluster(plan: Plan, job: Job) -> Row:
    """Workers of a cluster may have several threads, but random numbers belong to the process."""
    with GENERATOR:
        return evaluate(plan, job)


def _with_share(plan: Plan, share: float, job: Job) -> Row | None:
    """The results of a job, or None if it needs more than this share of the memory.

    What a network leaves in memory has holes, so a worker that reached its limit cannot be trusted with another one.
    """
    global _reached_limit
    if _reached_limit:
        return None
    memory.limit(share)
    row, fits = _attempt(plan, job, context(plan).protocol.batch_size)
    _reached_limit = not fits
    return row if fits else None


def _with_all_memory(plan: Plan, batch_size: int, job: Job) -> tuple[Row, bool]:
    memory.limit()
    memory.return_what_is_freed()
    return _attempt(plan, job, batch_size)


def _one_ahead(plan: Plan, jobs: list[Job]) -> Iterator[tuple[Job, Row]]:
    """A network is built and predicted by another thread while the one before it is evaluated.

    Where memory was short for that, the network is evaluated again with nothing else in memory.
    """

    def attempt(job: Job) -> "Prepared | Exception":
        try:
            return prepare(plan, job)
        except Exception as error:  # raised again where it is counted
            return error

    batch_size = context(plan).protocol.batch_size
    with ThreadPoolExecutor(1) as pool:
        following = [pool.submit(attempt, job) for job in jobs[:1]]
        for i, job in enumerate(jobs):
            prepared = following.pop().result()
            if i + 1 < len(jobs):
                following.append(pool.submit(attempt, jobs[i + 1]))
            row = evaluate(plan, job, prepared)
            if following and row["batch_size"] < batch_size:
                following.pop().result()
                del prepared
                row = evaluate(plan, job)
                following.append(pool.submit(attempt, jobs[i + 1]))
            yield job, row
