"""Figures of the studies."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BINS = 60
_GRAY = "0.75"


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _hide_frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def plot_distances(model: str, table: pd.DataFrame) -> Figure:
    """Plot Fréchet and Hungarian distances of each split from train.

    Marks are the distance of as many other networks of train, and the published costs.
    """
    figure = _figure(8, 3.2)
    left, right = figure.subplots(1, 2)
    place = np.arange(len(table))
    for axes, column, mark, label in (
        (left, "frechet", "floor", "as many other networks of train"),
        (right, "hungarian", "hungarian_published", "published (Table 11)"),
    ):
        axes.bar(place, table[column], width=0.65, color=[f"C{i}" for i in place], alpha=0.85)
        axes.plot(place, table[mark], "_", color="black", markersize=22, markeredgewidth=1.5, label=label)
        axes.set_xticks(place, table["split"])
        axes.set_ylim(0, 1.18 * table[[column, mark]].max().max())  # room for the legend
        axes.legend(frameon=False, fontsize=8)
        _hide_frame(axes)
    left.set_title(f"Fréchet distance from train, {model}", fontsize=10)
    right.set_title("Hungarian distance from train", fontsize=10)
    right.set_ylabel("mean cost of the assignment")
    return figure


def plot_map(model: str, places: pd.DataFrame, explained: Sequence[float]) -> Figure:
    """Plot networks on the first two principal components of the embeddings of train."""
    figure = _figure(5.6, 4.6)
    axes = figure.subplots()
    for number, (split, part) in enumerate(places.groupby("split", sort=False)):
        background = split == "train"
        axes.scatter(part["x"], part["y"], s=3 if background else 9, linewidths=0, label=split,
                     color=_GRAY if background else f"C{number - 1}", alpha=0.5 if background else 0.8)  # fmt: skip
    axes.set_xlabel(f"first component ({100 * explained[0]:.0f}% of the variance of train)")
    axes.set_ylabel(f"second component ({100 * explained[1]:.0f}%)")
    axes.set_title(f"graph embeddings of {model}", fontsize=10)
    axes.legend(frameon=False, fontsize=8, markerscale=2)
    _hide_frame(axes)
    return figure


def plot_parameters(distances: Mapping[str, Floats], small: Mapping[str, Floats]) -> Figure:
    """Plot the distributions of cosine distances between tensors and of the sparsity of first layers."""
    figure = _figure(8, 3)
    panels = zip(figure.subplots(1, 2), (distances, small), strict=True)
    for axes, values in panels:
        for (name, some), color in zip(values.items(), ("C0", "0.45"), strict=True):
            weights = np.full(len(some), 100 / len(some))
            axes.hist(some, np.linspace(0, 1, _BINS).tolist(), weights=weights, color=color, alpha=0.6, label=name)
            axes.axvline(some.mean(), color="black", linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 1)
        _hide_frame(axes)
        axes.legend(frameon=False, fontsize=8)
    left, right = figure.axes
    left.set(xlabel="absolute cosine distance of two tensors", ylabel="% of pairs")
    right.set(xlabel="share of first-layer weights below 0.05", ylabel="% of networks")
    return figure


def _colors(names: Sequence[str]) -> dict[str, str]:
    """Return the colors of initializers, the same in all figures: gray for random, then the GHN, then GHN-orth."""
    return dict(zip(names, ("0.45", "C0", "C1"), strict=False))


def plot_activations(layers: pd.DataFrame) -> Figure:
    """Plot the variance of the activations of each layer, one panel for each network."""
    networks = list(dict.fromkeys(layers["network"]))
    figure = _figure(1 + 4 * len(networks), 3)
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks, strict=True):
        _plot_lines(axes, layers[layers["network"] == network], "variance")
        axes.set_yscale("log")
        axes.set_title(network, fontsize=10)
    figure.axes[0].set_ylabel("variance of activations")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def plot_correlations(layers: pd.DataFrame, selected: Mapping[tuple[str, str, str], Floats]) -> Figure:
    """Plot correlations of channels: their distribution in three layers (top), their spread in all layers (bottom).

    Args:
        layers: a row for each network, initializer and layer.
        selected: correlations by network, initializer and layer.
    """
    networks = list(dict.fromkeys(layers["network"]))
    figure = _figure(1 + 4 * len(networks), 5.4)
    grid = figure.add_gridspec(2, 3 * len(networks))
    colors = _colors(list(dict.fromkeys(layers["init"])))
    for column, network in enumerate(networks):
        names = list(dict.fromkeys(layer for of, _, layer in selected if of == network))
        for number, layer in enumerate(names):
            axes = figure.add_subplot(grid[0, 3 * column + number])
            _plot_histograms(axes, {color: selected[network, init, layer] for init, color in colors.items()})
            axes.set_title(layer.removesuffix(".weight"), fontsize=7)
            if number == 1:
                axes.set_xlabel(f"correlation of channels, {network}", fontsize=9)
        axes = figure.add_subplot(grid[1, 3 * column : 3 * column + 3])
        _plot_lines(axes, layers[layers["network"] == network], "correlation_std")
        axes.set_ylim(0)
        if not column:
            axes.set_ylabel("std of the correlations")
            axes.legend(frameon=False, fontsize=8)
    return figure


def _plot_histograms(axes: Axes, correlations: Mapping[str, Floats]) -> None:
    """Plot the distributions of correlations by color; only their shapes matter, so the density has no ticks."""
    bins = np.linspace(-1, 1, _BINS).tolist()
    for color, values in correlations.items():
        axes.hist(values, bins, density=True, histtype="step", color=color, linewidth=1.3)
    axes.set_yscale("log")
    axes.set(xlim=(-1, 1), xticks=[-1, 0, 1])
    axes.yaxis.set_major_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    _hide_frame(axes)


def _plot_lines(axes: Axes, layers: pd.DataFrame, column: str) -> None:
    """Plot a line over the layers for each initializer."""
    for init, color in _colors(list(dict.fromkeys(layers["init"]))).items():
        part = layers[layers["init"] == init]
        axes.plot(part["number"], part[column], color=color, linewidth=1.3, label=init)
    axes.set_xlabel("layer")
    _hide_frame(axes)


def plot_properties(model: str, correlations: pd.DataFrame, predictions: pd.DataFrame) -> Figure:
    """Plot tau of each method by property (top), and the values that the GHN predicts against true ones (bottom)."""
    groups = list(predictions.groupby(["data", "property"], sort=False))
    figure = _figure(max(5.0, 2.2 * len(groups)), 5)
    grid = figure.add_gridspec(2, len(groups))
    top = figure.add_subplot(grid[0, :])
    methods = list(dict.fromkeys(correlations["method"]))
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        part = correlations[correlations["method"] == method]
        place = np.arange(len(part)) + (number - (len(methods) - 1) / 2) * width
        top.bar(place, part["tau"], width * 0.92, yerr=part["std"], label=method, alpha=0.85, capsize=2)
    top.set_xticks(range(len(groups)), ["\n".join(map(str, name[::-1])) for name, _ in groups], fontsize=8)
    top.axhline(0, color="black", linewidth=0.6)
    top.set_ylabel("Kendall's tau on test")
    top.legend(frameon=False, fontsize=8)
    _hide_frame(top)
    for number, ((_, name), part) in enumerate(groups):
        axes = figure.add_subplot(grid[1, number])
        axes.scatter(part["value"], part["predicted"], s=7, alpha=0.5, linewidths=0, color="C0")
        ends = [part[["value", "predicted"]].min().min(), part[["value", "predicted"]].max().max()]
        axes.plot(ends, ends, color=_GRAY, linewidth=0.8, zorder=0)
        axes.set_xlabel(name, fontsize=8)
        axes.tick_params(labelsize=7)
        _hide_frame(axes)
        if not number:
            axes.set_ylabel(f"predicted by {model}", fontsize=8)
    return figure
