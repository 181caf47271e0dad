"""Plot of a run: the result of every network."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, read_rows
from deepnets.utils.figures import save_figure


def plot_run(folder: Path, record: Record, table: bytes) -> Path:
    """Plot the accuracy of each network, or its score against the truth.

    Returns:
        The picture, RUN_ID.png in the folder.
    """
    rows, protocol = read_rows(table), PROTOCOLS[record["protocol"]["name"]]
    rows = rows[rows["status"] == "ok"]
    groups = list(record["networks"])
    figure = Figure(figsize=(1.6 + 1.1 * len(groups), 3.6), layout="constrained")
    axes = figure.subplots()
    if protocol.accuracy_columns:
        _plot_accuracies(axes, groups, rows, record, protocol.metrics[0])
    else:
        _plot_scores(axes, groups, rows)
    axes.set_title(f"{record['model']['name']} on {record['dataset']['name']}, {protocol.name}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    path = folder / f"{record['run_id']}.png"
    save_figure(figure, path)
    return path


def _plot_scores(axes: Axes, groups: list[str], rows: pd.DataFrame) -> None:
    """Plot the truth of each network against its score."""
    for group in groups:
        part = rows[rows["group"] == group]
        axes.scatter(
            pd.to_numeric(part["score"]), pd.to_numeric(part["truth"]), s=8, alpha=0.6, linewidths=0, label=group
        )
    axes.set_xlabel("score")
    axes.set_ylabel("truth")
    axes.legend(frameon=False, fontsize=7)


def _plot_accuracies(axes: Axes, groups: list[str], rows: pd.DataFrame, record: Record, metric: str) -> None:
    """Plot a column of points for each group; bars are means, the dotted line is chance level."""
    for place, group in enumerate(groups):
        part = rows[rows["group"] == group]
        values = 100 * pd.to_numeric(part[metric]).to_numpy()
        spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(values))
        axes.scatter(place + spread, values, s=6, alpha=0.5, linewidths=0)
        mean = 100 * record["results"][group][metric]["mean"]
        axes.plot([place - 0.38, place + 0.38], [mean, mean], color="black", linewidth=1.5)
    if metric == "top1":
        chance = 100 / record["dataset"]["classes"]
        axes.axhline(chance, color="gray", linewidth=0.8, linestyle=":")
        axes.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                      textcoords="offset points", ha="right", va="bottom", color="gray", fontsize=7)  # fmt: skip
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"{metric}{' accuracy' if metric.startswith('top') else ''}, %")
