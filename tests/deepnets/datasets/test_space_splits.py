"""Splits of trained architectures as files and data sets, and the targets of all splits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch_geometric.loader import DataLoader

from deepnets import DeepNets1M
from deepnets.datasets import generation, space_splits, traced_splits
from deepnets.datasets.generation import generate
from deepnets.sampling.splits import SPACE_SPLITS
from deepnets.spaces import registry
from deepnets.spaces.chain import chain_graph
from deepnets.spaces.registry import SPACES
from deepnets.spaces.tables import Truth
from deepnets.spaces.torchvision_weights import torchvision74_truth
from deepnets.storage.column_reader import Columns
from deepnets.storage.graph_file import GraphFile
from deepnets.storage.sharded_file import Shard
from tests.support.command import assert_refused, run

SYMBOLIC = [name for name, space in SPACES.items() if space.chain is not None]


def test_every_space_is_a_split() -> None:
    assert tuple(SPACES) == SPACE_SPLITS


@pytest.mark.parametrize("split", SYMBOLIC)
def test_dataset(tmp_path: Path, split: str) -> None:
    truth = SPACES[split].truth()
    dataset = DeepNets1M(tmp_path, split, num=12)
    assert len(dataset) == 12
    assert dataset.y_names == ("params", *truth.names)
    assert [dataset.model_name(i) for i in range(12)] == list(truth.keys[:12])
    for i, data in enumerate(dataset):
        network = dataset.network(i)
        params = sum(parameter.numel() for parameter in network.parameters())
        expected = np.array([params, *truth.values[i]], np.float32)
        assert data.y.shape == (1, len(dataset.y_names))
        assert data.y.dtype == torch.float32
        np.testing.assert_array_equal(data.y[0].numpy(), expected)
        assert torch.equal(data.y, dataset[i].y)
        names = {name for name, _ in network.named_parameters()}
        assert {name for name in dataset.graph(i).name.tolist() if name.endswith(("weight", "bias"))} <= names
    chain_of = SPACES[split].chain
    assert chain_of is not None
    assert dataset.graph(3).name.tolist() == chain_graph(chain_of(truth.keys[3], 10)).name.tolist()
    batch = next(iter(DataLoader(dataset, batch_size=5)))
    assert batch.y.shape == (5, len(dataset.y_names))
    with pytest.raises(ValueError, match="are not architectures of the design space"):
        dataset.architecture(0)
    with pytest.raises(ValueError, match="have image_size=32, num_classes=10; asked for image_size=224"):
        DeepNets1M(tmp_path, split, image_size=224)
    with pytest.warns(UserWarning, match=f"has 12 of the {len(truth)} networks of {split}"):
        DeepNets1M(tmp_path, split)


def test_table_of_a_space(tmp_path: Path) -> None:
    dataset = DeepNets1M(tmp_path, "nasbench201", num=20)
    table = dataset[[3, 1]].to_pandas()
    assert table["index"].tolist() == [3, 1]
    assert table["model"].tolist() == ["000003", "000001"]
    assert table["num_nodes"].tolist() == [len(dataset.graph(3)), len(dataset.graph(1))]
    assert table["num_edges"].tolist() == [dataset[i].num_edges for i in (3, 1)]
    assert table["params"].dtype == np.int64
    assert table["cifar10_test"].tolist() == [SPACES["nasbench201"].truth().column("cifar10_test")[i] for i in (3, 1)]


@pytest.mark.parametrize(("split", "image_size"), [("val", 32), ("val", 224), ("train", 32), ("train", 224)])
@pytest.mark.parametrize("num_classes", [10, 17])
def test_parameters_of_the_design_space(tmp_path: Path, split: str, image_size: int, num_classes: int) -> None:
    dataset = DeepNets1M(tmp_path, split, num=6, image_size=image_size, num_classes=num_classes)
    assert dataset.y_names == ("params",)
    counts = [sum(parameter.numel() for parameter in dataset.network(i).parameters()) for i in range(6)]
    assert [int(count) for count in dataset.targets(slice(0, 6))[:, 0]] == counts
    assert dataset[2].y.tolist() == [[float(np.float32(counts[2]))]]
    table = dataset.to_pandas()
    assert table["params"].tolist() == counts
    assert table["channels"].tolist() == [dataset.architecture(i).channels for i in range(6)]
    assert table["n_cells"].tolist() == [dataset.architecture(i).n_cells for i in range(6)]


def test_networks_of_traced_splits(tmp_path: Path) -> None:
    dataset = DeepNets1M(tmp_path, "predefined")
    assert dataset.y_names == ()
    assert dataset[0].y.shape == (1, 0)
    network = dataset.network(0)
    names = {name for name in dataset.graph(0).name.tolist() if name.endswith(("weight", "bias"))}
    assert names <= {name for name, _ in network.named_parameters()}
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert dataset.to_pandas()["model"].tolist() == ["resnet50", "vit"]


def test_published_accuracies_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced_splits, "TORCHVISION74", ("resnet18", "alexnet"))
    dataset = DeepNets1M(tmp_path, "torchvision74")
    table = dataset.to_pandas().set_index("model")
    assert dataset.y_names == ("params", "imagenet_top1", "imagenet_top5")
    assert table.loc["alexnet", "imagenet_top1"] == 56.522
    assert table.loc["resnet18", "imagenet_top1"] == 69.758
    for i, name in enumerate(("resnet18", "alexnet")):
        count = sum(parameter.numel() for parameter in dataset.network(i).parameters())
        assert table.loc[name, "params"] == count
        assert dataset[i].y[0, 0] == count


def test_torchvision_publishes_these_accuracies() -> None:
    truth = torchvision74_truth()
    assert truth.keys == traced_splits.TORCHVISION74
    for key, (params, top1, top5) in zip(truth.keys, truth.values.tolist(), strict=True):
        weights = torchvision.models.get_model_weights(key)["IMAGENET1K_V1"]
        published = weights.meta["_metrics"]["ImageNet-1K"]
        assert (top1, top5) == (published["acc@1"], published["acc@5"])
        # The weights of these two have auxiliary heads, which torchvision does not count.
        assert params == weights.meta["num_params"] or key in ("googlenet", "inception_v3")


def test_content_does_not_depend_on_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(tmp_path / "a.hdf5", "nasbench301", num=9, workers=1)
    monkeypatch.setattr(space_splits, "SYMBOLIC_SHARD", 4)
    parts = generate(tmp_path / "b.hdf5", "nasbench301", num=9, workers=2)
    a, b = GraphFile(whole), GraphFile(parts)
    assert a.header.content_sha256 == b.header.content_sha256
    assert a.models == b.models
    again = generate(tmp_path / "a.hdf5", "nasbench301", num=9, workers=1, overwrite=True)
    assert GraphFile(again).header.content_sha256 == b.header.content_sha256


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_splits, "SYMBOLIC_SHARD", 3)
    computed: list[Shard] = []
    original = generation._space_shard

    def fail_once(split: str, shard: Shard) -> Columns:
        if len(computed) == 2:
            computed.append(Shard(0, 0))
            raise KeyboardInterrupt
        computed.append(shard)
        return original(split, shard)

    monkeypatch.setattr(generation, "_space_shard", fail_once)
    path = tmp_path / "x.hdf5"
    with pytest.raises(KeyboardInterrupt):
        generate(path, "nasbench_macro", num=9, workers=1)
    assert not path.exists()
    generate(path, "nasbench_macro", num=9, workers=1)
    assert computed == [(0, 3), (3, 6), (0, 0), (6, 9)]
    assert len(GraphFile(path)) == 9


def test_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    keys = ("resnet10t.c3_in1k", "resnet18.a1_in1k", "resnet18.a2_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    whole = SPACES["timm"].truth()
    rows = [whole.keys.index(key) for key in keys]
    few = Truth(keys, whole.names, whole.values[rows])
    monkeypatch.setattr(space_splits, "TRACED_SHARD", 3)
    monkeypatch.setitem(registry.SPACES, "timm", replace_truth(few))
    dataset = DeepNets1M(tmp_path, "timm")
    assert [dataset.model_name(i) for i in range(4)] == list(keys)
    table = dataset.to_pandas()
    assert table["tag"].tolist() == ["c3_in1k", "a1_in1k", "a2_in1k", "augreg_in21k_ft_in1k"]
    assert table["architecture"].tolist() == [key.partition(".")[0] for key in keys]
    assert table["more_data"].tolist() == [0, 0, 0, 1]
    for i, key in enumerate(keys):
        model = timm.create_model(key)
        assert table["params"][i] == sum(parameter.numel() for parameter in model.parameters())
        names = {name for name in dataset.graph(i).name.tolist() if name.endswith(("weight", "bias"))}
        assert names <= {name for name, _ in model.named_parameters()}
    assert dataset.network(0)(torch.randn(1, 3, 64, 64)).shape == (1, 1000)
    with pytest.raises(ValueError, match="have image_size=224, num_classes=1000; asked for image_size=32"):
        DeepNets1M(tmp_path, "timm", image_size=32)


def replace_truth(truth: Truth) -> registry.Space:
    from dataclasses import replace

    return replace(SPACES["timm"], truth=lambda: truth)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments: Sequence[object] = ("generate", "--split", "nasbench101", "--root", tmp_path, "--num", 5)
    code, out, _ = run(capsys, *arguments, "--workers", 1)
    assert code == 0
    assert "nasbench101.hdf5: 5 networks" in out
    assert run(capsys, "verify", tmp_path / "nasbench101.hdf5")[0] == 0
    assert_refused(run(capsys, *arguments), "exists already")
    others = tmp_path / "others"
    for option, value, sentence in (
        ("--seed", 1, "seed is 1, but the networks of nasbench101 are published ones, which take no seed"),
        ("--num", 501, "num is 501; it must be at most 500"),
        ("--num", 0, "num is 0; it must be 1 or more"),
    ):
        arguments = ("generate", "--split", "nasbench101", "--root", others, option, value)
        assert_refused(run(capsys, *arguments), sentence)
    assert not others.exists() or not list(others.iterdir())
