"""Selection of the best networks of a run: DeepNets-1M-10 and PyTorch-10 (GHN-3 paper, section 5.1).

The papers choose ten networks by their accuracy before training (for RandInit: after one epoch), and train these alone.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS
from benchmarks.core.summaries import TOP
from benchmarks.execution.run_config import Selection
from deepnets.utils.errors import InputError, one_line

_TABLE = ".csv.gz"
_NAMES = {"top10": EVALUATION_SPLITS, "torchvision74_top10": ("torchvision74",)}


def select_best(run: Path) -> tuple[tuple[str, ...], Selection]:
    """Return the groups of the ten best networks of a finished run, each of a single network, and the selection.

    Args:
        run: folder of the run.

    Raises:
        InputError: it is no finished run with accuracies, or mixes DeepNets-1M and PyTorch-74.
    """
    run_id, rows = _read(run)
    groups = {str(row["group"]) for row in rows}
    name = next((name for name, members in _NAMES.items() if groups <= set(members)), None)
    if name is None:
        raise InputError(
            f"{run} has networks of {', '.join(sorted(groups))}; accepted: those of {', '.join(EVALUATION_SPLITS)}, or "
            "of torchvision74"
        )
    return best_groups(rows), Selection(name, run_id)


def best_groups(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the groups of the ten networks with the best mean top-1 accuracy; the first of equal ones is better.

    Args:
        rows: with group, name, status and top1.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        name = str(row["name"])
        values.setdefault(name, []).append(float(row["top1"]) if row["status"] == "ok" else 0.0)
    means = {name: sum(numbers) / len(numbers) for name, numbers in values.items()}
    return tuple(sorted(means, key=lambda name: -means[name])[:TOP])


def _read(run: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return run_id and rows of a finished run."""
    tables = sorted(run.glob(f"*{_TABLE}"))
    if len(tables) != 1:
        raise InputError(f"{run} has {len(tables)} tables of networks; give the folder of one finished run")
    try:
        frame = pd.read_csv(tables[0], keep_default_na=False)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{tables[0]} cannot be read ({one_line(error)})") from None
    if not {"group", "name", "status", "top1"} <= set(frame):
        raise InputError(f"{run} has no top-1 accuracies, so there are no best networks")
    return tables[0].name.removesuffix(_TABLE), frame.to_dict("records")
