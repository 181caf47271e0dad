"""Pictures of data sets and of single graphs (DeepNets-1M paper, Figures 6 and 7, Table 1).

Figures are made without pyplot, so that they neither need a display nor touch the global state of a notebook.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepnets.analysis.graph_layout import MARGIN, GraphLayout
from deepnets.analysis.statistics import (
    assignment_costs,
    average_path_lengths,
    primitive_counts,
    sample_indices,
    used_architectures,
)
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX, PRIMITIVES
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters
from deepnets.utils.figures import check_figure_suffix, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SAMPLE = 500  # networks of each file in a picture
_SCATTER = 200  # of which so many as points


def plot_statistics(
    files: Mapping[str, NetworkFile], reference: NetworkFile | None, path: str | os.PathLike[str]
) -> None:
    """The panels of Figure 6 of the DeepNets-1M paper that need no training, from a seeded sample of each file.

    (a) nodes, (b) primitives, (c) initial channels, (d) parameters, (e) average path length versus average degree,
    (f) distances to training networks (Figure 6h). Widths of train and search are drawn as in training.

    Args:
        files: networks by label, in the order of drawing.
        reference: training networks for panel (f), if None the first of the files that holds the train split.
        path: the picture; the suffix decides its format: .png, .pdf or .svg.

    Raises:
        ValueError: no files, or an unknown suffix.
    """
    check_figure_suffix(path)
    if not files:
        raise ValueError("there is nothing to plot: give at least one file")
    if reference is None:
        reference = next((file for file in files.values() if file.header.split == "train"), None)
    samples = {label: _Sample.of(file) for label, file in files.items()}
    figure = _figure(13, 7.5)
    axes = figure.subplots(2, 3).ravel()
    _violins(axes[0], {label: s.num_nodes for label, s in samples.items()})
    _primitive_bars(axes[1], samples)
    _violins(axes[2], {label: np.log2(s.channels) for label, s in samples.items()})
    _log_ticks(axes[2], [2**power for power in range(1, 15)], np.log2)
    _violins(axes[3], {label: np.log10(s.params) for label, s in samples.items()})
    _log_ticks(axes[3], [digit * 10**power for power in range(3, 10) for digit in (1, 3)], np.log10)
    _scatter(axes[4], samples)
    _distances(axes[5], samples, None if reference is None else _Sample.of(reference).counts)
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
    def of(cls, file: NetworkFile) -> "_Sample":
        index = sample_indices(file, _SAMPLE)
        graphs, table = file.graphs(index), used_architectures(file).rows(index)
        num_nodes = np.diff(graphs.node_ptr)
        return cls(
            num_nodes=num_nodes,
            channels=table.channels.astype(np.int64),
            params=count_parameters(table, file.image_size, file.num_classes),
            degree=2 * np.diff(graphs.edge_ptr) / num_nodes,
            path_length=average_path_lengths(graphs),
            counts=primitive_counts(graphs),
        )


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _color(position: int) -> str:
    return f"C{position % 10}"


def _violins(ax: "Axes", values: Mapping[str, NDArray[Any]]) -> None:
    """A violin for each label; a file whose values are all equal gets a line only."""
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


def _log_ticks(ax: "Axes", values: Sequence[float], log: np.ufunc) -> None:
    """Label an axis that shows logarithms with the numbers themselves, at least two of the values."""
    ticks = log(values)
    low, high = ax.get_ylim()
    shown = np.flatnonzero((ticks >= low) & (ticks <= high))
    if len(shown) < 2:
        shown = np.sort(np.argsort(abs(ticks - (low + high) / 2))[:2])
    ax.set_yticks(ticks[shown], [_short(values[tick]) for tick in shown.tolist()])


def _short(value: float) -> str:
    """A number as people write it: 48, 30k, 2.5M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= 10 * size or (unit == "M" and value >= size):
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _primitive_bars(ax: "Axes", samples: Mapping[str, _Sample]) -> None:
    """Share of each primitive among all nodes, the most frequent of the first file first."""
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


def _scatter(ax: "Axes", samples: Mapping[str, _Sample]) -> None:
    for position, (label, s) in enumerate(samples.items()):
        style: dict[str, Any] = {"s": 8, "alpha": 0.45, "linewidths": 0, "color": _color(position)}
        ax.scatter(s.degree[:_SCATTER], s.path_length[:_SCATTER], **style)
        ax.plot(s.degree.mean(), s.path_length.mean(), "o", color=_color(position), mec="black", ms=7, label=label)
    ax.set(xlabel="average degree", ylabel="average shortest path length")
    ax.legend(title="means", frameon=False, fontsize="small")
    ax.grid(alpha=0.3)


def _distances(ax: "Axes", samples: Mapping[str, _Sample], reference: Ints | None) -> None:
    """Distributions of assignment costs between networks of each file and training networks.

    All samples are drawn alike, so the first half of one and the second half of another have no network in common
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


@dataclass(frozen=True)
class _Style:
    """How a kind of node looks."""

    label: str
    marker: str
    color: str
    size: float  # area relative to the others, so that all look alike in size


_STYLES = {
    "input": _Style("input", "o", "#000000", 1.2),
    "conv": _Style("conv", "o", "#1f5fa8", 1.0),
    "conv_1x1": _Style("conv 1x1, linear", "^", "#2f8fe8", 1.0),
    "sep_conv": _Style("sep_conv", "s", "#11856b", 0.9),
    "dil_conv": _Style("dil_conv", "D", "#63c19f", 0.75),
    "bn": _Style("bn", "o", "#b9c4d0", 0.7),
    "ln": _Style("ln", "o", "#f3b6c8", 0.7),
    "bias": _Style("bias", "o", "#777777", 0.3),
    "sum": _Style("sum", "P", "#d62728", 1.15),
    "concat": _Style("concat", "p", "#7b3fa0", 1.2),
    "max_pool": _Style("max_pool", "v", "#e07b00", 1.0),
    "avg_pool": _Style("avg_pool", "v", "#f4c430", 1.0),
    "glob_avg": _Style("glob_avg", "h", "#f4c430", 1.3),
    "msa": _Style("msa", "*", "#c2187a", 1.9),
    "cse": _Style("cse", "X", "#8c564b", 1.1),
    "pos_enc": _Style("pos_enc", "d", "#000000", 1.0),
}
"""Node styles in the order of the legend; 1x1 convolutions have their own, as in the paper."""

_PITCH = 0.17  # inches between layers, and between neighbours in a layer
_MARKER = 34.0  # area of a marker in square points
_LEGEND_WIDTH = 1.1  # inches of a column of the legend
_CELL_TINTS = ("#eef2f7", "#f8f1e3")


def plot_graph(graph: ArchGraph, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Draw one graph in topological layers, folded into rows that alternate in direction (Figure 7 of the paper).

    A node stands as close before its consumers as the longest path allows. Edges over several layers have their own
    lanes, one for each producer, so that skip connections stay visible. Nodes of a cell share a tint, on which the
    cell is numbered.

    Args:
        graph: the graph of a network.
        path: the picture; the suffix decides its format: .png, .pdf or .svg.
        title: text above the picture.

    Raises:
        ValueError: an unknown suffix.
    """
    check_figure_suffix(path)
    layout = GraphLayout.of(graph)
    picture = np.array(layout.size) * _PITCH
    width = max(picture[0], 4 * _LEGEND_WIDTH) + 0.2
    legend_columns = min(int(width // _LEGEND_WIDTH), len(_STYLES) // 2)
    below = 0.15 * -(-len(_STYLES) // legend_columns) + 0.15
    height = picture[1] + below + (0.3 if title else 0.05)
    figure = _figure(width, height)
    figure.set_layout_engine("none")
    ax = figure.add_axes(((1 - picture[0] / width) / 2, below / height, picture[0] / width, picture[1] / height))
    ax.set(xlim=(0, layout.size[0]), ylim=(layout.size[1], 0))
    ax.set_axis_off()
    _draw_cells(ax, graph, layout)
    _draw_edges(ax, layout)
    _draw_nodes(ax, graph, layout)
    _legend(figure, ax, legend_columns)
    if title:
        figure.text(0.5, 1 - 0.06 / height, title, ha="center", va="top", fontsize=9)
    save_figure(figure, path)


def _legend(figure: "Figure", ax: "Axes", columns: int) -> None:
    style: dict[str, Any] = {"fontsize": 7, "frameon": False, "handletextpad": 0.1, "borderpad": 0.1}
    figure.legend(*ax.get_legend_handles_labels(), loc="lower center", ncols=columns, labelspacing=0.35, **style)


def _draw_cells(ax: "Axes", graph: ArchGraph, layout: GraphLayout) -> None:
    """A tint behind the nodes of each cell, and its number above one of them, where there is room if possible."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    x, y, row = layout.x[: len(graph)], layout.y[: len(graph)], layout.row[: len(graph)]
    for parity, tint in enumerate(_CELL_TINTS):
        nodes = np.flatnonzero(graph.cell % 2 == parity)
        boxes = [Rectangle((x[v] - 0.52, y[v] - 0.62), 1.04, 1.24) for v in nodes]
        ax.add_collection(PatchCollection(boxes, facecolor=tint, linewidths=0, zorder=0))
    rise = y[:, None] - layout.y  # (N, N + waypoints)
    above = (abs(x[:, None] - layout.x) < 0.6) & (rise > 0) & (rise < 1.3)
    crowded = above.sum(axis=1) > 0
    style: dict[str, Any] = {"fontsize": 4.5, "color": "#8a8a8a", "ha": "center", "va": "bottom"}
    for cell in np.unique(graph.cell):
        members = np.flatnonzero(graph.cell == cell)
        best = int(members[np.lexsort((y[members], row[members], crowded[members]))][0])
        ax.text(x[best], y[best] - 0.62, str(cell), zorder=2, **style)


def _draw_edges(ax: "Axes", layout: GraphLayout) -> None:
    """Curves that leave and enter in the direction of the row, with arrow heads at the nodes."""
    from matplotlib.collections import LineCollection, PolyCollection

    curves = _curves(layout)
    style: dict[str, Any] = {"color": "#555555", "zorder": 1}
    ax.add_collection(LineCollection(list(curves), linewidths=0.6, **style))
    curves = curves[layout.segments[1] < layout.n_nodes]
    to_end = np.linalg.norm(curves - curves[:, -1:], axis=2)  # (S, points)
    at = (to_end > 0.3).sum(axis=1) - 1  # just outside of the marker
    tip, tail = (curves[np.arange(len(curves)), k] for k in (at, np.maximum(at - 2, 0)))
    along = (tip - tail) / np.linalg.norm(tip - tail, axis=1, keepdims=True)
    base, across = tip - 0.24 * along, 0.1 * along[:, ::-1] * (1, -1)
    ax.add_collection(
        PolyCollection(list(np.stack([tip, base + across, base - across], axis=1)), linewidths=0, **style)
    )


def _curves(layout: GraphLayout) -> Floats:
    """(S, points, 2) cubic Bezier curves of the segments; where rows change they bulge out of the picture's side."""
    position = np.stack([layout.x, layout.y], axis=1)
    start, end = position[layout.segments]  # (S, 2) each
    turns = layout.row[layout.segments[0]] != layout.row[layout.segments[1]]
    bend = np.where(turns, np.minimum(0.5 + 0.12 * abs(end[:, 1] - start[:, 1]), MARGIN), 0.5)
    shift = np.stack([layout.direction * 1.0, np.zeros(len(position))], axis=1)[layout.segments] * bend[:, None]
    controls = np.stack([start, start + shift[0], end - shift[1], end], axis=1)  # (S, 4, 2)
    t = np.linspace(0, 1, 33)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])  # (points, 4)
    curves: Floats = weights @ controls
    return curves


def _draw_nodes(ax: "Axes", graph: ArchGraph, layout: GraphLayout) -> None:
    kind = np.array([PRIMITIVES[op] for op in graph.op], dtype="U16")
    kind[(graph.op == PRIMITIVE_INDEX["conv"]) & (graph.shape[:, 2:] == 1).all(axis=1)] = "conv_1x1"
    for name, style in _STYLES.items():
        nodes = np.flatnonzero(kind == name)
        options: dict[str, Any] = {
            "color": style.color,
            "marker": style.marker,
            "edgecolors": "white",
            "linewidths": 0.3,
            "zorder": 3,
        }
        ax.scatter(layout.x[nodes], layout.y[nodes], _MARKER * style.size, label=style.label, **options)
