"""Records of runs with made-up results."""

from dataclasses import replace
from functools import cache

import numpy as np

from benchmarks.execution.jobs import Row
from benchmarks.execution.run_config import RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.protocols.no_finetune import NoFinetuneConfig
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, make_record
from deepnets.sampling.sampler import sample_networks

PLAN = RunConfig("no_finetune", NoFinetuneConfig(), "randinit", "digits", ("test", "bnfree"), num=6)


def rows_of(plan: RunConfig, seed: int = 0) -> list[Row]:
    """Lines of results with made-up accuracies; one network failed."""
    rng = np.random.default_rng(seed)
    kind = PROTOCOLS[plan.protocol]
    rows: list[Row] = []
    for job in plan.jobs():
        row: Row = {"group": job.group, "index": job.index, "repeat": job.repeat, "name": f"{job.group}/{job.index}"}
        row |= {"params": _params(job.group, job.index), "batch_size": kind.batch_size, "seconds": 1.0}
        if (job.group, job.index) == ("test", 2):
            rows.append(row | {"status": "failed", "reason": "RuntimeError: too deep"})
            continue
        right = int(rng.integers(30, 270))  # of the 300 test images of digits
        top1, top5 = right / 300, int(rng.integers(right, 301)) / 300
        values = {"top1": top1, "top5": top5, "lr": 0.1, "weight_decay": 3e-5, "norm_batches": 18}
        values |= {"initial_gradient_norm": 2.5, "converged": 9, "noisy_val_top1": top1, "val_top1": top1}
        rows.append(row | {"status": "ok", "reason": "", **{k: values[k] for k in (*kind.columns, *kind.metrics)}})
    return rows


@cache
def _params(split: str, index: int) -> int:
    network = sample_networks(split, index, index + 1)
    return replace(network.table[0], channels=int(network.channels(32)[0])).num_params(32, 10)


def made(plan: RunConfig = PLAN, seed: int = 0) -> tuple[Record, bytes]:
    return make_record(plan, load_run_context(plan), rows_of(plan, seed), ["python", "-m", "benchmarks.run"])
