"""Records of runs with made-up results."""

from dataclasses import replace
from functools import cache

import numpy as np

from benchmarks.execution.row import Row
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
        name, params = f"{job.group}/{job.index}", _params(job.group, job.index)
        if (job.group, job.index) == ("test", 2):
            rows.append(Row(job, name, params, kind.batch_size, 1.0, "failed", "RuntimeError: too deep"))
            continue
        right = int(rng.integers(30, 270))  # of the 300 test images of digits
        top1, top5 = right / 300, int(rng.integers(right, 301)) / 300
        values = {"top1": top1, "top5": top5, "lr": 0.1, "weight_decay": 3e-5, "norm_batches": 18}
        values |= {"initial_gradient_norm": 2.5, "converged": 9, "noisy_val_top1": top1, "val_top1": top1}
        columns = {k: values[k] for k in (*kind.columns, *kind.metrics)}
        rows.append(Row(job, name, params, kind.batch_size, 1.0, "ok", "", columns))
    return rows


def edited(row: Row, **columns: float | str) -> Row:
    """Return the row with other values in these columns."""
    return Row.from_columns(row.columns() | columns)


@cache
def _params(split: str, index: int) -> int:
    network = sample_networks(split, index, index + 1)
    return replace(network.table[0], channels=int(network.channels(32)[0])).num_params(32, 10)


def made_up_record(plan: RunConfig = PLAN, seed: int = 0) -> tuple[Record, bytes]:
    return make_record(plan, load_run_context(plan), rows_of(plan, seed), ["python", "-m", "benchmarks.run"])
