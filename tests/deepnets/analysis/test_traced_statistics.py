"""Statistics of traced splits, and of the evaluation splits together."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepnets.analysis import statistics
from deepnets.analysis.statistics import SplitColumns, split_statistics, statistics_of_files
from deepnets.datasets.generation import generate
from deepnets.storage.graph_file import GraphFile
from deepnets.storage.network_file import NetworkFile, open_graphs
from tests.support.command import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for split in ("test", "deep"):
        generate(folder / f"{split}.hdf5", split, num=5, workers=1)
    generate(folder / "predefined.hdf5", "predefined")
    return folder


def test_predefined_networks_beside_generated_ones(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """Table 1, column ResNet/ViT: 23.5M and 1.0M parameters."""
    files = sorted(folder.glob("*.hdf5"))
    code, printed, _ = run(capsys, "stats", *files, "--out", tmp_path / "stats", "--plot")
    assert code == 0
    head, *lines = printed.splitlines()
    assert head.split() == ["test", "paper", "deep", "paper", "predefined", "evaluation"]
    rows = {line[:12].strip(): line[12:].split() for line in lines if line}
    assert rows["cells"][4] == rows["channels"][4] == "-"
    assert rows["params (M)"][4] == "1.0-23.5"
    assert rows["graphs"] == ["5", "500", "5", "100", "2", "10"]


def test_traced_counts_are_those_of_the_networks(folder: Path) -> None:
    file = open_graphs(folder / "predefined.hdf5")
    found = split_statistics(file)
    assert (found.image_size, found.num_classes, found.cells) == (32, 10, None)
    assert found.params.max == pytest.approx(23.520842)  # torchvision's ResNet-50 with a 3x3 stem and 10 classes
    assert found.without_bn == 50  # the ViT
    assert (found.nodes.min, found.nodes.max) == (file.num_nodes.min(), file.num_nodes.max())


def test_evaluation_splits_together(folder: Path) -> None:
    files: dict[str, GraphFile] = {split: NetworkFile(folder / f"{split}.hdf5") for split in ("test", "deep")}
    rows = dict(statistics_of_files(files))
    parts = [SplitColumns.of_file(file, 100) for file in files.values()]
    together = rows["evaluation"]
    assert list(rows) == ["test", "deep", "evaluation"]
    assert together.nodes.mean == np.concatenate([part.nodes for part in parts]).mean()
    assert together.path_length.std == pytest.approx(np.concatenate([part.path_length for part in parts]).std())
    assert (together.num_graphs, together.sample) == (10, 10)
    assert "evaluation" not in dict(statistics_of_files({"test": files["test"]}))


def test_classes_decide_the_image_size() -> None:
    shapes = np.array([[0, 0, 0, 0], [64, 3, 7, 7], [1000, 64, 1, 1], [1000, 1, 1, 1], [0, 0, 0, 0]])
    file: Any = SimpleNamespace(read=lambda index: (None, shapes))
    assert statistics._task_of(file) == (224, 1000)
