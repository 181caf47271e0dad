"""Plots of training curves."""

import json
from pathlib import Path

from deepnets.utils.figures import save_figure
from ghn_models.training.training_log import LOG


def plot_curves(folder: Path) -> Path:
    """Plot loss and accuracies of a run over its steps, and return the path of `curves.png`."""
    import matplotlib.pyplot as plt

    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    training = [line for line in lines if "loss" in line]
    validation = [line for line in lines if "val_accuracy" in line]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot([line["step"] for line in training], [line["loss"] for line in training], lw=0.8)
    left.set(xlabel="step (meta-batches)", ylabel="loss", title="training loss")
    right.plot(
        [line["step"] for line in training], [line["accuracy"] for line in training], lw=0.8, label="training images"
    )
    right.plot(
        [line["step"] for line in validation],
        [line["val_accuracy"] for line in validation],
        "o-",
        ms=3,
        label="validation networks and images",
    )
    right.set(xlabel="step (meta-batches)", ylabel="accuracy", title="predicted parameters", ylim=(0, 1))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path = folder / "curves.png"
    save_figure(figure, path)
    plt.close(figure)
    return path
