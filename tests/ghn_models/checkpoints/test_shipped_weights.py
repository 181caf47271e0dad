"""The weights in the package load, are what their cards say, and work."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import ghn_models
from benchmarks.core.accuracy import topk_accuracy
from deepnets import symbolic_graph
from deepnets.sampling.sampler import sample_networks
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import load_images

SHIPPED = sorted(path.parent for path in checkpoints.SHIPPED.glob(f"*/{checkpoints.CONFIG}"))


def test_there_are_weights() -> None:
    assert [path.name for path in SHIPPED] == ["ghn2.digits", "ghn3_t.digits", "mlp.digits"]
    assert ghn_models.list_models("*.digits", weights=True) == [path.name for path in SHIPPED]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_weights_are_small_and_described(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    about = json.loads((folder / "config.json").read_text())
    assert about["weights_sha256"] == checkpoints.sha256(folder / checkpoints.WEIGHTS)
    assert {"dataset", "recipe", "seed", "commit", "train_sha256", "settings", "versions"} <= set(about)
    assert about["train_sha256"] == load_images(about["dataset"]).train.sha256()
    card = (folder / "README.md").read_text()
    for part in (folder.name, about["recipe"], about["commit"][:10], f"seed {about['seed']}", "accuracy"):
        assert part in card


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_networks_with_predicted_parameters_recognise_digits(folder: Path) -> None:
    """Networks that the GHN has never seen, on images that it has never seen; chance is 10%."""
    ghn = ghn_models.load(folder.name)
    assert ghn_models.load(folder.name.split(".")[0]).config == ghn.config
    test = load_images("digits").test
    networks = sample_networks("test", 0, 8)
    right = []
    for i in range(8):
        architecture = replace(networks.table[i], channels=32)
        model = ghn(architecture.build(10, 32), 32, symbolic_graph(architecture, 32, 10))
        right.append(topk_accuracy(model, test.batches())[0])
    assert sum(right) / len(right) > 0.75
