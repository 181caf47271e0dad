"""Draw how the accuracy of GHNs grows with the time and with the images that they were trained on.

    python -m benchmarks.reporting.plot_ghn_training runs/ghn2 runs/ghn3_t runs/mlp runs/ghn1 --out training.png

Lines with dots are validation networks on validation images, thin lines are training networks on training images. Hours
are those of training steps, on the machine of the run. An image counts once for each network that it was given to.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tyro
from tyro.conf import Positional

from deepnets.utils.command_line import command_line, run_command
from deepnets.utils.errors import InputError
from ghn_models.training.training_log import LOG

_AXES = {"hours": "hours of training", "images": "images, in millions"}
_ACCURACIES: dict[str, dict[str, Any]] = {
    "val_accuracy": {"marker": "o", "ms": 2.5, "lw": 1.2},
    "accuracy": {"lw": 0.6, "alpha": 0.4},
}


@dataclass(frozen=True)
class Options:
    """Draw the accuracies of trained GHNs.

    Args:
        folders: of training runs; their names are those of the lines.
        out: the picture.
    """

    folders: Positional[tuple[Path, ...]]
    out: Path = Path("training.png")


def read_progress(folder: Path) -> pd.DataFrame:
    """Return the log of a training run by its steps: hours, images (in millions), accuracy and val_accuracy.

    Raises:
        InputError: the folder has no log with the numbers of images.
    """
    log = folder / LOG
    lines = pd.DataFrame([json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else [])
    columns = {"step", "images", "images_per_second", "accuracy", "val_accuracy"}
    if not columns <= set(lines):
        raise InputError(f"{folder} has no {LOG} of a training run that was validated at least once")
    steps = lines.groupby("step")[sorted(columns - {"step"})].first()
    hours = (steps["images"] / steps["images_per_second"] / 3600).fillna(0).cumsum()
    return steps.assign(hours=hours, images=steps["images"].fillna(0).cumsum() / 1e6)


def main() -> int:
    """Run the command and return its exit code, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    from deepnets.utils.figures import new_figure, save_figure

    options = tyro.cli(
        Options, args=command_line(), prog="python -m benchmarks.reporting.plot_ghn_training", description=__doc__
    )
    if not options.folders:
        raise InputError("give the folder of a training run, or several")
    runs = {folder.name: read_progress(folder) for folder in options.folders}
    figure = new_figure(9, 3.4)
    for axes, (column, title) in zip(figure.subplots(1, 2, sharey=True), _AXES.items(), strict=True):
        for number, (label, run) in enumerate(runs.items()):
            for accuracy, style in _ACCURACIES.items():
                line = run[[column, accuracy]].dropna()
                name = label if accuracy == "val_accuracy" else None
                axes.plot(line[column], 100 * line[accuracy], color=f"C{number}", label=name, **style)
        axes.set(xlabel=title, ylabel="accuracy (%)" if column == "hours" else "")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    save_figure(figure, options.out)
    print(f"accuracies of {', '.join(runs)}: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
