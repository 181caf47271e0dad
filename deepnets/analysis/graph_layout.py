"""Positions of the nodes of a graph in a figure: topological layers, folded into rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepnets.graphs.arch_graph import ArchGraph

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MARGIN = 2.0
"""Space left and right of the nodes, where edges turn into the next row, in pitches."""

_LANE = 0.5  # width of a long edge that passes a layer, in pitches
_ROW_GAP = 1.4  # between the rows of a folded graph, in pitches
_MIN_COLUMNS = 24  # the fewest layers in a row, if the graph has as many


@dataclass(frozen=True, eq=False)
class GraphLayout:
    """Positions of the nodes of a graph, in pitches; y grows downwards.

    Long edges pass through waypoints, one in each layer between their ends. Waypoints are numbered after the N nodes.

    Shapes:
        x, y: (N + waypoints,) positions.
        row: (N + waypoints,) row.
        direction: (N + waypoints,) 1 in rows that run to the right, -1 in rows that run to the left.
        segments: (2, S) ends of the segments: nodes and waypoints.
        size: width and height.
    """

    n_nodes: int
    x: Floats
    y: Floats
    row: Ints
    direction: Ints
    segments: Ints
    size: tuple[float, float]

    @classmethod
    def from_graph(cls, graph: ArchGraph) -> "GraphLayout":
        """Lay out a graph."""
        n_nodes = len(graph)
        layer, segments = _with_waypoints(_layers(n_nodes, graph.edge_index), graph.edge_index)
        order = _ordered(layer, segments)
        width = np.where(np.arange(len(layer)) < n_nodes, 1.0, _LANE)
        lane = _lanes(order, segments, width)
        row, column, direction, top, columns = _folded(layer, lane)
        y = top[row] + np.where(direction > 0, lane, -lane)
        x = np.where(direction > 0, column, columns - 1 - column) + MARGIN
        return cls(n_nodes, x, y, row, direction, segments, (columns - 1 + 2 * MARGIN, float(top[-1])))


def _layers(n_nodes: int, edges: NDArray[np.int32]) -> Ints:
    """Return the (N,) layers: as late as the longest path to the output allows, so that cells stay together."""
    layer = np.zeros(n_nodes, np.int64)
    for source, target in edges[:, ::-1].T.tolist():  # sorted by target: consumers come before producers
        layer[source] = min(layer[source], layer[target] - 1)
    first: int = layer.min()
    return layer - first


def _with_waypoints(layer: Ints, edges: NDArray[np.int32]) -> tuple[Ints, Ints]:
    """Return the layers of nodes and waypoints, and the segments between neighboring layers.

    All long edges of a producer share one lane of waypoints up to its last consumer.
    """
    last = layer.copy()
    np.maximum.at(last, edges[0], layer[edges[1]] - 1)  # layer of the last waypoint
    first_waypoint = len(layer) + np.cumsum(last - layer) - (last - layer)
    owner = np.repeat(np.arange(len(layer)), last - layer)
    waypoint = len(layer) + np.arange(len(owner))
    waypoint_layer = layer[owner] + 1 + waypoint - first_waypoint[owner]
    before = np.where(waypoint == first_waypoint[owner], owner, waypoint - 1)
    hops = layer[edges[1]] - layer[edges[0]]
    source = np.where(hops == 1, edges[0], first_waypoint[edges[0]] + hops - 2)
    segments = np.concatenate([np.stack([before, waypoint]), np.stack([source, edges[1]])], axis=1)
    return np.concatenate([layer, waypoint_layer]), segments


def _neighbors(n: int, segments: Ints) -> tuple[list[Ints], list[Ints]]:
    """Return the neighbors of every node and waypoint in the layer before and in the layer behind."""
    before: list[list[int]] = [[] for _ in range(n)]
    behind: list[list[int]] = [[] for _ in range(n)]
    for source, target in segments.T.tolist():
        before[target].append(source)
        behind[source].append(target)
    return [np.array(b, np.int64) for b in before], [np.array(b, np.int64) for b in behind]


def _ordered(layer: Ints, segments: Ints, sweeps: int = 12) -> list[Ints]:
    """Order the nodes and waypoints of each layer so that few edges cross, with barycenter sweeps to and fro."""
    order = [np.flatnonzero(layer == number) for number in range(layer.max() + 1)]
    before, behind = _neighbors(len(layer), segments)
    place = np.zeros(len(layer))
    for members in order:
        place[members] = np.arange(len(members)) - (len(members) - 1) / 2
    for sweep in range(sweeps):
        forwards = sweep % 2 == 0
        neighbors = before if forwards else behind
        for number in range(len(order)) if forwards else reversed(range(len(order))):
            members = order[number]
            mean = [place[neighbors[v]].mean() if len(neighbors[v]) else place[v] for v in members]
            order[number] = members = members[np.argsort(mean, kind="stable")]
            place[members] = np.arange(len(members)) - (len(members) - 1) / 2
    return order


def _lanes(order: list[Ints], segments: Ints, width: Floats, sweeps: int = 20) -> Floats:
    """Return the position of each node across its layer: close to its neighbors, in the given order, without overlap.

    The last sweep follows the edges, so that chains end up straight.
    """
    from sklearn.isotonic import isotonic_regression

    before, behind = _neighbors(len(width), segments)
    lane = np.zeros(len(width))
    offsets = [np.cumsum(width[members]) - width[members] / 2 for members in order]
    for sweep in range(sweeps + 1):
        forwards = sweep % 2 == 0
        neighbors = before if forwards else behind
        pull = 1.0 if sweep == sweeps else 0.97  # towards the middle of the figure
        for number in range(len(order)) if forwards else reversed(range(len(order))):
            members, offset = order[number], offsets[number]
            target = np.array([lane[neighbors[v]].mean() if len(neighbors[v]) else lane[v] for v in members])
            lane[members] = offset + isotonic_regression(pull * target - offset)
    return lane


def _folded(layer: Ints, lane: Floats) -> tuple[Ints, Ints, Ints, Floats, int]:
    """Fold a long strip of layers into rows, so that the figure is about one and a half times as wide as high.

    Returns:
        row, column and direction of every node; (rows + 1,) where lane 0 of each row lies, and the total height;
        the number of columns.
    """
    n_layers = int(layer.max()) + 1
    best: tuple[float, tuple[Ints, Ints, Ints, Floats, int]] | None = None
    for n_rows in range(1, n_layers + 1):
        columns = max(-(-n_layers // n_rows), min(n_layers, _MIN_COLUMNS))
        row = layer // columns
        direction = np.where(row % 2 == 0, 1, -1)
        position = direction * lane
        rows = range(int(row.max()) + 1)
        low = np.array([position[row == r].min() for r in rows])
        high = np.array([position[row == r].max() for r in rows])
        height = high - low + _ROW_GAP
        top = np.concatenate([np.cumsum(height) - height - low + _ROW_GAP / 2, [height.sum()]])
        distance = abs(np.log(columns / height.sum() / 1.5))
        if best is not None and distance >= best[0]:
            break
        best = distance, (row, layer % columns, direction, top, columns)
    assert best is not None
    return best[1]
