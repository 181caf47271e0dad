"""The figure of a single graph (DeepNets-1M paper, Figure 7).

Figures are made without pyplot, so that they need no display and leave the global state of a notebook alone.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepnets.analysis.graph_layout import MARGIN, GraphLayout
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX, PRIMITIVES
from deepnets.utils.figures import check_figure_suffix, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Style:
    """Appearance of nodes."""

    label: str
    marker: str
    color: str
    size: float  # relative area; markers of equal area look different in size


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

_PITCH = 0.17  # inches between layers, and between neighbors in a layer
_MARKER = 34.0  # area of a marker in square points
_LEGEND_WIDTH = 1.1  # inches of a column of the legend
_CELL_TINTS = ("#eef2f7", "#f8f1e3")


def plot_graph(graph: ArchGraph, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Plot a graph in topological layers, folded into rows that alternate in direction (Figure 7 of the paper).

    A node stands as close to its consumers as the longest path allows. Edges over several layers have their own
    lanes, one for each producer, so that skip connections stay visible. Nodes of a cell share a tint, on which the
    cell is numbered.

    Args:
        graph: the graph of a network.
        path: the figure; its suffix decides the format: .png, .pdf or .svg.
        title: text above the graph.

    Raises:
        InputError: an unknown suffix.
    """
    check_figure_suffix(path)
    layout = GraphLayout.from_graph(graph)
    size = np.array(layout.size) * _PITCH
    width = max(size[0], 4 * _LEGEND_WIDTH) + 0.2
    legend_columns = min(int(width // _LEGEND_WIDTH), len(_STYLES) // 2)
    below = 0.15 * -(-len(_STYLES) // legend_columns) + 0.15
    height = size[1] + below + (0.3 if title else 0.05)
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    ax = figure.add_axes(((1 - size[0] / width) / 2, below / height, size[0] / width, size[1] / height))
    ax.set(xlim=(0, layout.size[0]), ylim=(layout.size[1], 0))
    ax.set_axis_off()
    _plot_cells(ax, graph, layout)
    _plot_edges(ax, layout)
    _plot_nodes(ax, graph, layout)
    _add_legend(figure, ax, legend_columns)
    if title:
        figure.text(0.5, 1 - 0.06 / height, title, ha="center", va="top", fontsize=9)
    save_figure(figure, path)


def _add_legend(figure: "Figure", ax: "Axes", columns: int) -> None:
    style: dict[str, Any] = {"fontsize": 7, "frameon": False, "handletextpad": 0.1, "borderpad": 0.1}
    figure.legend(*ax.get_legend_handles_labels(), loc="lower center", ncols=columns, labelspacing=0.35, **style)


def _plot_cells(ax: "Axes", graph: ArchGraph, layout: GraphLayout) -> None:
    """Plot a tint behind the nodes of each cell and its number above one of them, where there is room if possible."""
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


def _plot_edges(ax: "Axes", layout: GraphLayout) -> None:
    """Plot curves that leave and enter in the direction of the row, with arrow heads at the nodes."""
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
    """Return (S, points, 2) cubic Bezier curves of the segments; where rows change they bulge out of the side."""
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


def _plot_nodes(ax: "Axes", graph: ArchGraph, layout: GraphLayout) -> None:
    style_of_node = np.array([PRIMITIVES[op] for op in graph.op], dtype="U16")
    style_of_node[(graph.op == PRIMITIVE_INDEX["conv"]) & (graph.shape[:, 2:] == 1).all(axis=1)] = "conv_1x1"
    for name, style in _STYLES.items():
        nodes = np.flatnonzero(style_of_node == name)
        options: dict[str, Any] = {
            "color": style.color,
            "marker": style.marker,
            "edgecolors": "white",
            "linewidths": 0.3,
            "zorder": 3,
        }
        ax.scatter(layout.x[nodes], layout.y[nodes], _MARKER * style.size, label=style.label, **options)
