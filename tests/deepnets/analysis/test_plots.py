"""Pictures are written in the format of their suffix, and drawn graphs show all nodes and edges."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepnets.analysis.graph_layout import GraphLayout
from deepnets.analysis.plots import plot_graph, plot_statistics
from deepnets.datasets.generation import generate
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.storage.network_file import NetworkFile

_MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> NetworkFile:
    return NetworkFile(generate(tmp_path_factory.mktemp("networks") / "val.hdf5", "val", num=30, workers=1))


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> NetworkFile:
    return NetworkFile(generate(tmp_path_factory.mktemp("networks") / "train.hdf5", "train", num=30, workers=1))


@pytest.mark.parametrize("suffix", _MAGIC)
def test_graph_in_the_format_of_the_suffix(val: NetworkFile, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"graph{suffix}"
    plot_graph(val.graph(int(val.num_nodes.argmin())), path, title="a small one")
    assert path.read_bytes().startswith(_MAGIC[suffix])


def test_statistics_of_one_and_of_several_files(val: NetworkFile, train: NetworkFile, tmp_path: Path) -> None:
    plot_statistics({"val": val}, None, tmp_path / "one.svg")
    plot_statistics({"val": val, "again": val}, train, tmp_path / "several.svg")
    plot_statistics({"train": train}, None, tmp_path / "train.PNG")
    assert (tmp_path / "one.svg").stat().st_size < (tmp_path / "several.svg").stat().st_size
    assert (tmp_path / "train.PNG").read_bytes().startswith(_MAGIC[".png"])


def test_errors(val: NetworkFile, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"suffix '\.jpg'; figures are written as \.png, \.pdf, \.svg"):
        plot_graph(val.graph(0), tmp_path / "graph.jpg")
    with pytest.raises(ValueError, match="suffix ''"):
        plot_statistics({"val": val}, None, tmp_path / "statistics")
    with pytest.raises(ValueError, match="at least one file"):
        plot_statistics({}, None, tmp_path / "statistics.png")
    assert not list(tmp_path.iterdir())


def test_layout_separates_nodes_and_keeps_the_direction(val: NetworkFile) -> None:
    for index in range(8):
        graph = val.graph(index)
        layout = GraphLayout.of(graph)
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
    layout = GraphLayout.of(graph)
    following: dict[int, list[int]] = {}
    for source, target in layout.segments.T.tolist():
        following.setdefault(source, []).append(target)

    def reached(node: int) -> list[int]:
        ends = [[v] if v < len(graph) else reached(v) for v in following.get(node, [])]
        return [v for end in ends for v in end]

    edges = sorted((u, v) for u in range(len(graph)) for v in reached(u))
    assert edges == sorted(map(tuple, graph.edge_index.T.tolist()))


def test_smallest_graphs(tmp_path: Path) -> None:
    for n_nodes in (1, 2):
        op = np.full(n_nodes, PRIMITIVE_INDEX["input"], np.uint8)
        edges = np.array([[0]] * 2)[:, : n_nodes - 1] + [[0], [1]]
        shape = np.zeros((n_nodes, 4), np.int32)
        graph = ArchGraph(op, np.zeros_like(op), np.array(["input"] * n_nodes), shape, edges.astype(np.int32))
        plot_graph(graph, tmp_path / f"{n_nodes}.png")
        assert (tmp_path / f"{n_nodes}.png").exists()


def test_pyplot_is_left_alone() -> None:
    code = "import sys, deepnets.analysis.plots; assert not any(name.startswith('matplotlib') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
