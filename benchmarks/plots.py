"""Pictures of results."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.protocols import PROTOCOLS
from benchmarks.record import Record, frame


def plot_run(folder: Path, record: Record, table: bytes) -> Path:
    """Accuracy or average precision of all networks of a run, a column of points for each group; bars are means.

    Returns:
        The picture, RUN_ID.png in the folder.
    """
    kind = PROTOCOLS[record["protocol"]["name"]]
    rows, metric = frame(table), kind.metrics[0]
    groups = list(record["results"])
    figure = Figure(figsize=(1.6 + 1.1 * len(groups), 3.6), layout="constrained")
    axes = figure.subplots()
    for place, group in enumerate(groups):
        part = rows[(rows["group"] == group) & (rows["status"] == "ok")]
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
    axes.set_title(f"{record['model']['name']} on {record['dataset']['name']}, {kind.name}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    path = folder / f"{record['run_id']}.png"
    figure.savefig(path, dpi=200)
    return path
