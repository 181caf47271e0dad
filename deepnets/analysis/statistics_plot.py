"""The figure of statistics of data sets (DeepNets-1M paper, Figure 6).

Figures are made without pyplot, so that they need no display and leave the global state of a notebook alone.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepnets.analysis.statistics import (
    architectures_in_use,
    assignment_costs,
    average_path_lengths,
    primitive_counts,
    sample_indices,
)
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters
from deepnets.utils.errors import InputError
from deepnets.utils.figures import check_figure_suffix, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SAMPLE = 500  # networks of each file
_SCATTER = 200  # networks of the sample that are points


def plot_statistics(
    files: Mapping[str, NetworkFile], reference: NetworkFile | None, path: str | os.PathLike[str]
) -> None:
    """Plot the panels of Figure 6 of the DeepNets-1M paper that need no training, from a seeded sample of each file.

    (a) nodes, (b) primitives, (c) initial channels, (d) parameters, (e) average path length versus average degree,
    (f) distances to training networks (Figure 6h). Widths of train and search are sampled as in training.

    Args:
        files: networks by label, in the order of plotting.
        reference: training networks for panel (f); by default the first file that holds the train split.
        path: the figure; its suffix decides the format: .png, .pdf or .svg.

    Raises:
        InputError: no files, or an unknown suffix.
    """
    check_figure_suffix(path)
    if not files:
        raise InputError("there is nothing to plot: give at least one file")
    if reference is None:
        reference = next((file for file in files.values() if file.header.split == "train"), None)
    samples = {label: _Sample.from_file(file) for label, file in files.items()}
    figure = new_figure(13, 7.5)
    axes = figure.subplots(2, 3).ravel()
    _plot_violins(axes[0], {label: s.num_nodes for label, s in samples.items()})
    _plot_primitive_shares(axes[1], samples)
    _plot_violins(axes[2], {label: np.log2(s.channels) for label, s in samples.items()})
    _set_log_ticks(axes[2], [2**power for power in range(1, 15)], np.log2)
    _plot_violins(axes[3], {label: np.log10(s.params) for label, s in samples.items()})
    _set_log_ticks(axes[3], [digit * 10**power for power in range(3, 10) for digit in (1, 3)], np.log10)
    _plot_paths_and_degrees(axes[4], samples)
    _plot_distances(axes[5], samples, None if reference is None else _Sample.from_file(reference).counts)
    titles = ("nodes", "primitives", "initial channels", "parameters", "path length and degree", "distance to train")
    for letter, title, ax in zip("abcdef", titles, axes, strict=True):
        ax.set_title(f"({letter}) {title}", loc="left")
    save_figure(figure, path)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Properties of sampled networks, (B,) each, and (B, 15) nodes of each primitive."""

    num_nodes: Ints
    channels: Ints
    params: Ints
    degree: Floats
    path_length: Floats
    counts: Ints

    @classmethod
    def from_file(cls, file: NetworkFile) -> "_Sample":
        index = sample_indices(file, _SAMPLE)
        graphs, table = file.graphs(index), architectures_in_use(file).take(index)
        num_nodes = graphs.num_nodes
        return cls(
            num_nodes=num_nodes,
            channels=table.channels.astype(np.int64),
            params=count_parameters(table, file.image_size, file.num_classes),
            degree=2 * graphs.num_edges / num_nodes,
            path_length=average_path_lengths(graphs),
            counts=primitive_counts(graphs),
        )


def _color(position: int) -> str:
    return f"C{position % 10}"


def _plot_violins(ax: "Axes", values: Mapping[str, NDArray[Any]]) -> None:
    """Plot a violin for each label; a file whose values are all equal gets a line only."""
    for position, column in enumerate(values.values()):
        if column.min() < column.max():
            bodies: Any = ax.violinplot(column, [position], widths=0.85, showextrema=False)["bodies"]
            bodies[0].set(facecolor=_color(position), edgecolor=_color(position), alpha=0.5)
        low, median, high = np.quantile(column, [0, 0.5, 1])
        ax.vlines(position, low, high, color=_color(position), linewidth=1)
        ax.hlines([low, median, high], position - 0.12, position + 0.12, color=_color(position), linewidth=1.5)
    ax.set_xticks(range(len(values)), list(values))
    margin = max(0.6, 2 - len(values) / 2)  # so that a single violin is no wider than others
    ax.set_xlim(-margin, len(values) - 1 + margin)
    ax.grid(axis="y", alpha=0.3)


def _set_log_ticks(ax: "Axes", values: Sequence[float], log: np.ufunc) -> None:
    """Label an axis that shows logarithms with the numbers themselves, at least two of the values."""
    ticks = log(values)
    low, high = ax.get_ylim()
    shown = np.flatnonzero((ticks >= low) & (ticks <= high))
    if len(shown) < 2:
        shown = np.sort(np.argsort(abs(ticks - (low + high) / 2))[:2])
    ax.set_yticks(ticks[shown], [_short_number(values[tick]) for tick in shown.tolist()])


def _short_number(value: float) -> str:
    """Return a number as people write it: 48, 30k, 2.5M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= 10 * size or (unit == "M" and value >= size):
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _plot_primitive_shares(ax: "Axes", samples: Mapping[str, _Sample]) -> None:
    """Plot the share of each primitive among all nodes, ordered by the first file."""
    shares = [100 * s.counts.sum(axis=0) / s.counts.sum() for s in samples.values()]
    order = np.argsort(-shares[0], kind="stable")
    width = 0.85 / len(shares)
    for position, (label, share) in enumerate(zip(samples, shares, strict=True)):
        at = np.arange(len(PRIMITIVES)) + (position - (len(shares) - 1) / 2) * width
        ax.bar(at, share[order], width, color=_color(position), label=label)
    ax.set_xticks(
        range(len(PRIMITIVES)), [PRIMITIVES[p] for p in order], rotation=60, ha="right", rotation_mode="anchor"
    )
    ax.set_ylabel("% of nodes")
    ax.legend(frameon=False, fontsize="small")


def _plot_paths_and_degrees(ax: "Axes", samples: Mapping[str, _Sample]) -> None:
    """Plot the average path length of networks versus their average degree, and the means of each file."""
    for position, (label, s) in enumerate(samples.items()):
        style: dict[str, Any] = {"s": 8, "alpha": 0.45, "linewidths": 0, "color": _color(position)}
        ax.scatter(s.degree[:_SCATTER], s.path_length[:_SCATTER], **style)
        ax.plot(s.degree.mean(), s.path_length.mean(), "o", color=_color(position), mec="black", ms=7, label=label)
    ax.set(xlabel="average degree", ylabel="average shortest path length")
    ax.legend(title="means", frameon=False, fontsize="small")
    ax.grid(alpha=0.3)


def _plot_distances(ax: "Axes", samples: Mapping[str, _Sample], reference: Ints | None) -> None:
    """Plot the distributions of assignment costs between networks of each file and training networks.

    All samples have the same indices, so the first half of one and the second half of another have no network in common
    even if both come from the same file.
    """
    if reference is None:
        ax.text(0.5, 0.5, "needs a file of the train split", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return
    others = reference[len(reference) // 2 :]
    costs = {
        label: assignment_costs(s.counts[: max(1, len(s.counts) // 2)], others).ravel() for label, s in samples.items()
    }
    bins = np.linspace(0, max(cost.max() for cost in costs.values()), 50).tolist()
    for position, (label, cost) in enumerate(costs.items()):
        weights = np.full(len(cost), 100 / len(cost))
        ax.hist(cost, bins, weights=weights, histtype="step", color=_color(position), linewidth=1.5, label=label)
    ax.set(xlabel="cost of the best assignment between nodes", ylabel="% of pairs")
    ax.legend(frameon=False, fontsize="small")
    ax.grid(alpha=0.3)
