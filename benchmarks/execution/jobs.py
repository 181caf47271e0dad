"""Jobs: a network gets its parameters, is evaluated, and becomes a row of results."""

import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.core.ensemble import members
from benchmarks.core.evaluation_networks import GLOBAL_RNG_LOCK, EvaluationNetwork
from benchmarks.core.protocol import Case, Result
from benchmarks.execution.network_failures import describe, errors_of_network, is_of_network
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import Job
from benchmarks.execution.run_context import BatchSizes, RunContext, Stage
from benchmarks.initializers.base import InitContext
from deepnets.sampling.splits import SPLITS
from ghn_models.training.step import is_out_of_memory


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network with its first parameters.

    Args:
        network: its group, index and name.
        model: on the device of the run.
        seed: seed for what the protocol does with the network.
        params: number of parameters, without those that an initializer adds.
    """

    network: EvaluationNetwork
    model: nn.Module
    seed: int
    params: int


class Trial(NamedTuple):
    """Result of trying a job: its row, and the stage that memory was too short for, if any."""

    row: Row
    short_of_memory: Stage | None


def prepare(context: RunContext, job: Job, initializer_share: float = 1.0) -> Prepared:
    """Build the network of a job and give it its parameters.

    Args:
        context: protocol, data and initializer of the run.
        job: the network and the repetition.
        initializer_share: see `BatchSizes`.
    """
    with GLOBAL_RNG_LOCK:
        seed = _job_seed(context.config.seed, job)
        # Only the generator of the CPU: on a GPU the last network may still be in training.
        generator = torch.default_generator.manual_seed(seed)
        # A GHN predicts all that networks of DeepNets-1M use, if these have as many classes as its classifiers.
        network = context.config.network(job)
        initialize = network.split not in SPLITS or context.initializer.num_classes != context.task.num_classes
        with errors_of_network():
            model, graph = network.build(context.config.image_size, context.task.num_classes, initialize)
        params = sum(p.numel() for p in model.parameters())
        init_context = InitContext(
            name="",
            graph=graph,
            task=context.protocol.initializer_images(context.task_for(network), context.config.settings, seed % 2**31),
            image_size=network.input_size(context.config.image_size),
            generator=generator,
            beta=context.protocol.noise_strength(context.config.settings),
            initialized=initialize,
            batch_share=initializer_share,
            needs_classifier=context.protocol.needs_classifier,
            repeat=job.repeat,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parameters that are not predicted keep their initialization
            for name, member in zip(network.name.split("+"), members(model), strict=True):
                context.initializer.apply(member, replace(init_context, name=name))
        return Prepared(network, model.to(context.config.device), seed % 2**31, params)


def _job_seed(run_seed: int, job: Job) -> int:
    words = [run_seed, zlib.crc32(job.group.encode()), job.index, job.repeat]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


def evaluate(context: RunContext, job: Job) -> Row:
    """Return the row of a job. What a network cannot do is a result too: it failed, with the reason.

    A network that does not fit into memory is tried again with smaller batches.

    Args:
        context: protocol, data and initializer of the run.
        job: the network and the repetition.
    """
    start = time.perf_counter()
    sizes: BatchSizes | None = context.batch_sizes
    while sizes is not None:
        row, short = try_job(context, job, sizes)
        sizes = None if short is None else context.reduce(sizes, short)
    return replace(row, seconds=time.perf_counter() - start)


def try_job(context: RunContext, job: Job, sizes: BatchSizes, prepared: "Prepared | Exception | None" = None) -> Trial:
    """Compute the row of a job with given batch sizes.

    Args:
        context: protocol, data and initializer of the run.
        job: the network and the repetition.
        sizes: the usual ones, or less.
        prepared: the network, if it was built before, or the error that this raised.

    Raises:
        ImageError, OSError: the images cannot be read, which no network is to blame for.
        TypeError, AttributeError, ...: a mistake in a protocol or an initializer, see `is_of_network`.
    """
    start, params, stage = time.perf_counter(), 0, Stage.PREPARE
    short: Stage | None = None
    failure: str | None = None
    values: Result = {}
    try:
        if isinstance(prepared, Exception):
            raise prepared
        with _one_thread(context.config.device):
            if prepared is None:
                prepared = prepare(context, job, sizes.initializer_share)
            params, stage = prepared.params, Stage.EVALUATE
            values = _evaluate_prepared(context, prepared, sizes, job.repeat)
    except Exception as error:
        if is_out_of_memory(error):
            short = stage
        elif not is_of_network(error):
            raise
        error.__traceback__ = None  # which has all tensors that were there
        failure = describe(error)
    row = Row(
        job=job,
        name=context.config.network(job).name,
        params=params,
        batch_size=sizes.evaluation,
        seconds=time.perf_counter() - start,
        status="ok" if failure is None else "failed",
        reason=_note(sizes) if failure is None else failure,
        values=values,
    )
    return Trial(row, short)


def _evaluate_prepared(context: RunContext, prepared: Prepared, sizes: BatchSizes, repeat: int) -> Result:
    case = Case(
        model=prepared.model,
        task=context.task_for(prepared.network),
        batch_size=sizes.evaluation,
        seed=prepared.seed,
        network=prepared.network,
        scorer=context.scorer,
        classifier_fits=context.initializer.makes_classifiers,
        running_statistics=context.initializer.running_statistics,
        folder=context.config.job_folder(prepared.network.name, repeat),
    )
    return context.protocol.evaluate(case, context.config.settings)


def _note(sizes: BatchSizes) -> str:
    share = sizes.initializer_share
    return "" if share == 1 else f"memory was short: initialised with {share:.2g} of the batch"


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """On the CPU, compute with one thread: the same sums for any number of workers, which have a core each."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if device == "cpu":
            torch.set_num_threads(before)
