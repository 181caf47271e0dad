"""Figures are written in the format of their suffix."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepnets.analysis.graph_plot import plot_graph
from deepnets.analysis.statistics_plot import plot_statistics
from deepnets.datasets.generation import generate
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.storage.network_file import NetworkFile

_MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


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


def test_smallest_graphs(tmp_path: Path) -> None:
    for n_nodes in (1, 2):
        op = np.full(n_nodes, PRIMITIVE_INDEX["input"], np.uint8)
        edges = np.array([[0]] * 2)[:, : n_nodes - 1] + [[0], [1]]
        shape = np.zeros((n_nodes, 4), np.int32)
        graph = ArchGraph(op, np.zeros_like(op), np.array(["input"] * n_nodes), shape, edges.astype(np.int32))
        plot_graph(graph, tmp_path / f"{n_nodes}.png")
        assert (tmp_path / f"{n_nodes}.png").exists()


def test_pyplot_is_left_alone() -> None:
    modules = "deepnets.analysis.graph_plot, deepnets.analysis.statistics_plot"
    code = f"import sys, {modules}; assert not any(name.startswith('matplotlib') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
