"""Sensitivity to the learning rate: the share of networks for which one learning rate is good (GHN-3 paper, Table 18).

    python -m benchmarks.run --model ghn3_t --protocol finetune --split torchvision74 --finetune.lrs 0.1
    python -m benchmarks.run --model ghn3_t --protocol finetune --split torchvision74 --finetune.lrs 0.01
    python -m benchmarks.reporting.lr_sensitivity results/RUN_1 results/RUN_2

Each run has a single learning rate; all else is the same. The table has, for the learning rate with the best mean
accuracy, the share of networks whose accuracy is within 0, 1 and 2 points of that with their own best learning rate.
Both learning rates are chosen by the accuracy on test images, to see what could be lost at most; finetune itself
chooses by validation images.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import tyro
from numpy.typing import NDArray
from tyro.conf import Positional

from benchmarks.records.record import Identity, Record, RecordError, read_rows
from benchmarks.records.record_files import find_record, read_record
from benchmarks.records.validation import find_problems
from deepnets.utils.command_line import run_command

TOLERANCES = (0.0, 0.01, 0.02)


@dataclass(frozen=True)
class Sensitivity:
    """Accuracy that is lost if all networks get the same learning rate.

    Args:
        lr: learning rate with the best mean accuracy.
        mean: that accuracy, 0 to 1.
        own: mean accuracy if each network gets its own best learning rate.
        within: by tolerance, the share of networks that lose no more than it with the common learning rate. Networks
            that fail with all learning rates do not count as within.
    """

    lr: float
    mean: float
    own: float
    within: dict[float, float]


def sensitivity(accuracies: dict[float, NDArray[np.float64]]) -> Sensitivity:
    """Compute the sensitivity of networks to the learning rate.

    Args:
        accuracies: (networks,) accuracies, 0 to 1, by learning rate. If two means are equal, the first one is the best.
    """
    lr = max(accuracies, key=lambda lr: accuracies[lr].mean())
    best = np.max(list(accuracies.values()), axis=0)
    less = best - accuracies[lr]
    within = {tolerance: float(np.mean((less <= tolerance + 1e-9) & (best > 0))) for tolerance in TOLERANCES}
    return Sensitivity(lr, float(accuracies[lr].mean()), float(best.mean()), within)


def by_learning_rate(runs: Sequence[tuple[Record, bytes]]) -> dict[float, NDArray[np.float64]]:
    """Return the accuracies of all networks by learning rate; repetitions are averaged, failed networks have 0.

    Networks are in the same order for all learning rates, even where runs name their splits in another order.

    Raises:
        RecordError: a record is wrong or not of finetune, or records differ in more than their one learning rate.
    """
    for record, table in runs:
        _check_record(record, table)
    accuracies: dict[float, NDArray[np.float64]] = {}
    first = _all_but_lr(runs[0][0])
    for record, table in runs:
        lrs = record["protocol"]["settings"].get("lrs", ())
        if len(lrs) != 1 or lrs[0] in accuracies:
            raise RecordError(f"{record['run_id']} has the learning rates {lrs}; each run must have one of its own")
        if _all_but_lr(record) != first:
            raise RecordError(f"{record['run_id']} differs from {runs[0][0]['run_id']} in more than the learning rate")
        rows = read_rows(table)
        top1 = pd.to_numeric(rows["top1"], errors="coerce").where(rows["status"] == "ok", 0.0)
        accuracies[lrs[0]] = top1.groupby([rows[name] for name in ("group", "index")]).mean().to_numpy()
    return accuracies


def _check_record(record: Record, table: bytes) -> None:
    name = record.get("run_id", "a record")
    for problem in find_problems(record, table, {}):
        raise RecordError(f"{name}: {problem}")
    if record["protocol"]["name"] != "finetune":
        raise RecordError(f"{name}: it is not of finetune, which has learning rates")


def _all_but_lr(record: Record) -> Identity:
    """Return all that decides the results of a run but its learning rate."""
    protocol = record["protocol"]
    same: Any = {name: record.get(name) for name in Identity.__annotations__}
    same["protocol"] = {**protocol, "settings": {**protocol["settings"], "lrs": None}}
    return cast(Identity, same)


@dataclass(frozen=True)
class Options:
    """Compare runs of one learning rate each."""

    folders: Positional[tuple[Path, ...]]
    """Folders of finished runs of the finetune protocol."""


def main() -> int:
    """Run the command and return its exit code, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    options = tyro.cli(Options, prog="python -m benchmarks.reporting.lr_sensitivity", description=__doc__)
    if len(options.folders) < 2:
        raise RecordError("give the folders of two runs or more")
    runs = [read_record(find_record(folder)) for folder in options.folders]
    result = sensitivity(by_learning_rate(runs))
    record = runs[0][0]
    print(f"{record['model']['name']} on {record['dataset']['name']}: learning rate {result.lr:g} is best on average")
    print(f"top1 {100 * result.mean:.2f}, with the best one of each network on these images {100 * result.own:.2f}")
    for tolerance, share in result.within.items():
        print(f"best top1 ± {100 * tolerance:g}: {100 * share:.1f}% of networks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
