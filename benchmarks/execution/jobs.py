"""A run: a model, a protocol and networks; each network and repetition is a job with one line of results."""

import gc
import time
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks.core.ensemble import members
from benchmarks.core.evaluation_networks import GLOBAL_RNG_LOCK, EvaluationNetwork, network_at, networks_in
from benchmarks.core.protocol import Case, Protocol, Task
from benchmarks.execution import memory
from benchmarks.initializers.base import InitContext, Initializer
from benchmarks.initializers.ghn import Untrained
from benchmarks.initializers.registry import UnknownModelError, load_initializer
from benchmarks.protocols.registry import get_protocol
from benchmarks.scoring.scorers import Scorer, by_accuracy, is_scorer, load_scorer
from deepnets.sampling.splits import SPLITS
from deepnets.utils.errors import one_line
from ghn_models.images.datasets import ImageError, ImageTask
from ghn_models.training.step import is_out_of_memory


@dataclass(frozen=True)
class Job:
    """One line of results to be: a network and which repetition it is."""

    group: str
    index: int
    repeat: int


Row = dict[str, Any]
"""One line of results."""


@dataclass(frozen=True)
class RunConfig:
    """What is evaluated on what, and how; equal plans give equal results.

    Args:
        protocol: its name.
        settings: its options.
        model: name of an initializer, see `benchmarks.initializers`.
        dataset, data_dir, image_size: images, as the protocol loads them, see `load_images`.
        groups: networks, see `benchmarks.core.evaluation_networks`.
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
        return {group: len(networks_in(group, self.num)) for group in self.groups}

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
class Batches:
    """How many images are looked at together: fewer where memory is short.

    An initialiser that takes too much does not change how its network is trained afterwards.

    Args:
        size: of the protocol's batches.
        share: of their usual batches, that initialisers which learn take.
    """

    size: int
    share: float = 1.0


Stage = Literal["prepare", "evaluate"]
"""What memory was short for: a network and its first parameters, or the protocol."""


@dataclass(frozen=True)
class Context:
    """What a worker keeps from one line of results to the next."""

    protocol: Protocol
    task: Task
    initializer: Initializer
    scorer: Scorer

    @property
    def batches(self) -> Batches:
        """The usual ones."""
        return Batches(self.protocol.batch_size)

    def smaller(self, batches: Batches, stage: Stage) -> Batches | None:
        """Half the batches where they were too large, if anything comes of that."""
        if stage == "evaluate":
            return replace(batches, size=batches.size // 2) if batches.size > self.protocol.batch_sizes[-1] else None
        return replace(batches, share=batches.share / 2) if batches.share > self.initializer.smallest_share else None


@lru_cache(1)
def context(plan: RunConfig) -> Context:
    """Images and model of a run.

    Raises:
        ValueError: an unknown name, images or weights that are not there, or a classifier for other classes.
    """
    kind = get_protocol(plan.protocol)
    task = kind.load_task(plan.dataset, plan.data_dir, plan.image_size).to(plan.device)
    untrained = Untrained(task.num_classes, plan.image_size, plan.seed) if plan.random_weights else None
    init, scores = (load_scorer(plan.model) if kind.accepts_scorers else None) or (
        _initializer(plan, untrained),
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


def _initializer(plan: RunConfig, untrained: Untrained | None) -> Initializer:
    try:
        return load_initializer(plan.model, plan.device, plan.orth_layer, untrained)
    except UnknownModelError:
        if is_scorer(plan.model):
            raise ValueError(
                f"{plan.model} gives networks scores and no parameters; it is for --protocol nas"
            ) from None
        raise


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network with its first parameters."""

    network: EvaluationNetwork
    model: nn.Module
    seed: int
    params: int


def prepare(plan: RunConfig, job: Job, share: float = 1.0) -> Prepared:
    """Build the network of a job and give it its parameters.

    Args:
        plan: of the run.
        job: which network.
        share: see `Batches`.
    """
    with GLOBAL_RNG_LOCK:
        return _prepare(plan, job, share)


def _prepare(plan: RunConfig, job: Job, share: float) -> Prepared:
    here = context(plan)
    network = network_at(job.group, job.index)
    words = [plan.seed, zlib.crc32(job.group.encode()), job.index, job.repeat]
    seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
    # Only the generator of the CPU: on a GPU the last network may still be in training.
    generator = torch.default_generator.manual_seed(seed)
    # A GHN predicts all that networks of DeepNets-1M use, if these have as many classes as its classifiers.
    initialize = job.group not in SPLITS or here.initializer.num_classes != here.task.num_classes
    model, graph = network.build(plan.image_size, here.task.num_classes, initialize)
    params = sum(p.numel() for p in model.parameters())
    images = (
        here.protocol.initializer_images(here.task, plan.settings, seed % 2**31)
        if isinstance(here.task, ImageTask)
        else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters that are not predicted keep their initialisation
        for name, member in zip(network.name.split("+"), members(model), strict=True):
            beta = here.protocol.noise_strength(plan.settings)
            needed = here.protocol.needs_classifier
            setting = InitContext(name, graph, images, plan.image_size, generator, beta, initialize, share, needed)
            here.initializer.apply(member, setting)
    return Prepared(network, model.to(plan.device), seed % 2**31, params)


def evaluate(plan: RunConfig, job: Job) -> Row:
    """The results of a job. What a network cannot do is a result too: it failed, with the reason.

    A network that does not fit into memory is tried again with smaller batches.

    Args:
        plan: of the run.
        job: which network.
    """
    if plan.device == "cpu":
        memory.limit()
    here, start = context(plan), time.perf_counter()
    batches: Batches | None = here.batches
    while batches is not None:
        row, short = attempt(plan, job, batches)
        batches = None if short is None else here.smaller(batches, short)
    return {**row, "seconds": time.perf_counter() - start}


def attempt(
    plan: RunConfig, job: Job, batches: Batches, prepared: "Prepared | Exception | None" = None
) -> tuple[Row, Stage | None]:
    """The results of a job with these batches, and what memory was short for, if it was.

    Args:
        plan: of the run.
        job: which network.
        batches: the usual ones, or less.
        prepared: the network, if it was built before, or what happened.
    """
    if plan.device == "cpu":
        torch.set_num_threads(1)  # the same sums for any number of workers; cores work on networks of their own
    here, start = context(plan), time.perf_counter()
    row: Row = {
        "params": 0,
        "group": job.group,
        "index": job.index,
        "repeat": job.repeat,
        "name": network_at(job.group, job.index).name,
        "batch_size": batches.size,
    }
    stage: Stage = "prepare"
    short: Stage | None = None
    try:
        if isinstance(prepared, Exception):
            raise prepared
        if prepared is None:
            prepared = prepare(plan, job, batches.share)
        row["params"], stage = prepared.params, "evaluate"
        fits = here.initializer.makes_classifiers
        case = Case(prepared.model, here.task, batches.size, prepared.seed, prepared.network, here.scorer, fits)
        remark = "" if batches.share == 1 else f"memory was short: initialised with {batches.share:.2g} of the batch"
        done: Row = {"status": "ok", "reason": remark, **here.protocol.evaluate(case, plan.settings)}
    except Exception as error:
        if is_out_of_memory(error):
            short = stage
        elif isinstance(error, ImageError | OSError):  # of no network in particular
            raise
        error.__traceback__ = None  # which has all tensors that were there
        reason = one_line(f"{type(error).__name__}: {error}")
        done = {"status": "failed", "reason": reason}
    return {**row, "seconds": time.perf_counter() - start, **done}, short
