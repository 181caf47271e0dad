"""Laid out graphs show all nodes and edges."""

import numpy as np

from deepnets.analysis.graph_layout import GraphLayout
from deepnets.storage.network_file import NetworkFile


def test_layout_separates_nodes_and_keeps_the_direction(val: NetworkFile) -> None:
    for index in range(8):
        graph = val.graph(index)
        layout = GraphLayout.from_graph(graph)
        x, y = layout.x[: len(graph)], layout.y[: len(graph)]
        apart = np.hypot(x[:, None] - x, y[:, None] - y)
        np.fill_diagonal(apart, np.inf)
        assert apart.min() > 0.99
        assert 0 < x.min() < x.max() < layout.size[0]
        assert 0 < y.min() < y.max() < layout.size[1]
        source, target = layout.segments
        same = layout.row[source] == layout.row[target]
        assert np.allclose((layout.x[target] - layout.x[source])[same], layout.direction[source][same])
        assert (layout.row[target] - layout.row[source])[~same].tolist() == [1] * int((~same).sum())


def test_layout_leads_along_every_edge(val: NetworkFile) -> None:
    """Following segments through waypoints from each node reaches exactly the nodes that its edges lead to."""
    graph = val.graph(int(val.num_nodes.argmax()))
    layout = GraphLayout.from_graph(graph)
    following: dict[int, list[int]] = {}
    for source, target in layout.segments.T.tolist():
        following.setdefault(source, []).append(target)

    def reached(node: int) -> list[int]:
        ends = [[v] if v < len(graph) else reached(v) for v in following.get(node, [])]
        return [v for end in ends for v in end]

    edges = sorted((u, v) for u in range(len(graph)) for v in reached(u))
    assert edges == sorted(map(tuple, graph.edge_index.T.tolist()))
