"""Small files of networks."""

from pathlib import Path

import pytest

from deepnets.datasets.generation import generate
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.storage.network_file import NetworkFile


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    generate(folder / "val.hdf5", "val", num=30, workers=1)
    generate(folder / "train.hdf5", "train", num=10_000, workers=1)
    return folder


@pytest.fixture(scope="session")
def val(folder: Path) -> NetworkFile:
    return NetworkFile(folder / "val.hdf5")


@pytest.fixture(scope="session")
def train(folder: Path) -> NetworkFile:
    return NetworkFile(folder / "train.hdf5")


@pytest.fixture(scope="session")
def graphs(val: NetworkFile) -> list[ArchGraph]:
    return [val.graph(i) for i in range(len(val))]
