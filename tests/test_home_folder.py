"""~ is the home folder in every path that functions take."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.figure
import pytest

import ghn_models
from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
from benchmarks.scoring.scorers import read_column
from deepnets import DeepNets1M, symbolic_graph
from deepnets.cli import main
from deepnets.design_space.named_architectures import vit
from deepnets.published.exporter import export_files
from deepnets.published.importer import import_file
from deepnets.storage.graph_file import write_graphs
from deepnets.storage.network_file import open_graphs
from deepnets.tracing.model_loader import loaded_model
from deepnets.utils.errors import InputError
from deepnets.utils.figures import save_figure
from ghn_models.checkpoints.folder import save_folder
from ghn_models.hypernetwork import GHN
from ghn_models.images.datasets import load_images
from ghn_models.utils.cache import cache_folder
from tests.support.small_ghns import KINDS

HOME = Path("~")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_networks_and_published_files(home: Path) -> None:
    assert main(["generate", "--split", "val", "--num", "3", "--root=~/data"]) == 0
    assert len(DeepNets1M("~/data", "val", num=3)) == 3
    assert len(open_graphs("~/data/deepnets1m_val.hdf5")) == 3
    export_files([HOME / "data" / "deepnets1m_val.hdf5"], HOME / "published.hdf5")
    assert len(import_file(HOME / "published.hdf5", HOME / "imported")) == 1
    assert (home / "imported" / "deepnets1m_val.hdf5").is_file()


def test_graphs_and_figures(home: Path) -> None:
    write_graphs(HOME / "graphs.hdf5", "mine", {"one": symbolic_graph(vit(), 32, 10)})
    assert len(open_graphs("~/graphs.hdf5")) == 1
    save_figure(matplotlib.figure.Figure(), "~/figure.png")
    assert (home / "figure.png").is_file()


def test_models_and_weights(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "mine.py").write_text("from torch import nn\n\ndef make():\n    return nn.Linear(2, 2)\n")
    with loaded_model("~/mine.py:make") as model:
        assert type(model).__name__ == "Linear"
    save_folder(GHN(KINDS["mlp"]), HOME / "weights", {"name": "mine"})
    assert ghn_models.load("~/weights").config == ghn_models.load(HOME / "weights").config == KINDS["mlp"]
    monkeypatch.setenv("DEEPNETS_HOME", "~/cache")
    assert cache_folder("images") == home / "cache" / "images"


def test_tables_and_leaderboards(home: Path) -> None:
    (home / "scores.csv").write_text("group,index,score\ntest,0,1\n")
    assert read_column(HOME / "scores.csv", ("score",)).tolist() == [1.0]
    (home / "datasets.json").write_text("{}")
    assert LeaderboardFolder(HOME).root == home


@pytest.mark.parametrize("load", [partial(load_images, "cifar10"), partial(load_images, "folder")])
def test_images(load: Callable[[str], Any], home: Path) -> None:
    """The error says where they are searched."""
    with pytest.raises(InputError, match=str(home / "images")):
        load("~/images")
