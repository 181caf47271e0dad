"""Draw the training curves of several runs in one picture.

    python -m benchmarks.reporting.plot_curves results/RANDINIT results/GHN --out curves.png       # runs with --curves
    python -m benchmarks.reporting.plot_curves runs/ghn2_m1 runs/ghn2_m8 --out loss.png            # trained GHNs

Of runs of `benchmarks.run` (GHN-3 paper, Figures 6 and 8; GHN-orth, Figure 4; DeepNets paper, Figure 13), a line is the
mean over networks, with the learning rate and weight decay that each has in its row. Of trained GHNs (DeepNets paper,
Figure 9) it is the training loss.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro
from tyro.conf import Positional

from benchmarks.training.job_folder import CURVES
from deepnets.utils.command_line import run_command
from deepnets.utils.errors import InputError
from ghn_models.training.training_log import LOG

_HYPERPARAMETERS = ("optimizer", "lr", "weight_decay")
_VALUES = ("loss", "train_top1", "val_top1")


@dataclass(frozen=True)
class Options:
    """Draw curves.

    Args:
        folders: folders of runs with --curves, or of trained GHNs.
        out: the picture.
    """

    folders: Positional[tuple[Path, ...]]
    out: Path = Path("curves.png")


def read_curves(folder: Path) -> pd.DataFrame:
    """Return the curve of a run by its steps: loss, train_top1 and val_top1 as far as they are known.

    Raises:
        InputError: the folder has no curves.
    """
    log = folder / LOG
    if log.is_file():
        lines = pd.DataFrame([json.loads(line) for line in log.read_text().splitlines()])
        known = lines.rename(columns={"accuracy": "train_top1", "val_accuracy": "val_top1"})
        return known.groupby("step")[[name for name in _VALUES if name in known]].mean()
    files = sorted((folder / CURVES).glob("*.csv"))
    if not files:
        raise InputError(f"{folder} has no curves; give the folder of a run with --curves, or of a trained GHN")
    parts = [_best_training(pd.read_csv(path)) for path in files]
    return pd.concat(parts).groupby("step")[[name for name in _VALUES if name in parts[0]]].mean()


def _best_training(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of the training whose validation accuracy is best at the end."""
    last = lines.groupby("training", sort=False).last()
    column = "val_top1" if "val_top1" in last else "train_top1"
    return lines[lines["training"] == last[column].idxmax()]


def main() -> int:
    """Run the command and return its exit code, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    from deepnets.utils.figures import new_figure, save_figure

    options = tyro.cli(Options, prog="python -m benchmarks.reporting.plot_curves", description=__doc__)
    if not options.folders:
        raise InputError("give the folder of a run, or several")
    curves = {folder.name: read_curves(folder) for folder in options.folders}
    figure = new_figure(11, 3.4)
    for axes, name in zip(figure.subplots(1, len(_VALUES)), _VALUES, strict=True):
        for label, curve in curves.items():
            if name in curve:
                line = curve[name].dropna()
                axes.plot(line.index, line, lw=1, label=label)
        axes.set(xlabel="step", title=name)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=6)
    save_figure(figure, options.out)
    print(f"curves of {', '.join(curves)}: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
