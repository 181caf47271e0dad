"""The PyTorch Geometric data set: every way of reading gives the same graphs."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from deepnets import DeepNets1M, VirtualEdges, symbolic_graph
from deepnets.datasets.generation import generate, split_path

pytestmark = pytest.mark.filterwarnings("ignore:.* says that this is meant")


def assert_same(a: Data, b: Data) -> None:
    assert set(a.keys()) == set(b.keys())
    for key in a.keys():  # noqa: SIM118 - the keys of a Data object are a method
        assert torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) if key != "split" else a[key] == b[key]


@pytest.mark.parametrize(("image_size", "num_classes"), [(32, 10), (224, 1000)])
def test_graphs_are_those_of_the_architectures(root: Path, image_size: int, num_classes: int) -> None:
    dataset = DeepNets1M(root, "wide", image_size=image_size, num_classes=num_classes)
    assert len(dataset) == 20
    for i, data in enumerate(dataset):
        graph = symbolic_graph(dataset.architecture(i), image_size, num_classes)
        assert data.x.tolist() == graph.op.tolist()
        assert data.edge_index.tolist() == graph.edge_index.tolist()
        assert data.shape.tolist() == graph.shape.tolist()
        assert data.cell.tolist() == graph.cell.tolist()
        assert (data.index, data.split) == (i, "wide")
        assert all(t.dtype == torch.long for t in (data.x, data.edge_index, data.shape, data.cell))
        assert dataset.graph(i).name.tolist() == graph.name.tolist()
        assert data.validate()


def test_all_ways_of_reading_agree(root: Path) -> None:
    dataset = DeepNets1M(root, "train")
    one_by_one = [dataset[i] for i in range(len(dataset))]
    assert [len(data.x) for data in one_by_one] == dataset.graph_sizes.tolist()
    order = np.random.default_rng(0).permutation(300).tolist()
    for found, expected in (
        (list(dataset), one_by_one),
        (dataset.__getitems__(order), [one_by_one[i] for i in order]),
        (list(dataset[10:50:3]), one_by_one[10:50:3]),
        (list(dataset[torch.tensor(order)]), [one_by_one[i] for i in order]),
        ([dataset[order][7], dataset[-1]], [one_by_one[order[7]], one_by_one[-1]]),
    ):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    subset = dataset[order]
    assert subset.architecture(5) == dataset.architecture(order[5])
    assert subset.graph_sizes.tolist() == dataset.graph_sizes[order].tolist()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers(root: Path, context: str) -> None:
    dataset = DeepNets1M(root, "train", transform=VirtualEdges(), num=60)
    loader = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context=context)
    batches = list(loader)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(60))
    graphs = [graph for batch in batches for graph in batch.to_data_list()]
    for i, graph in enumerate(graphs):
        graph.index = int(graph.index)  # a tensor in a batch
        assert_same(graph, dataset[i])


def test_pre_filter_and_num(root: Path) -> None:
    small = DeepNets1M(root, "train", pre_filter=lambda data: data.num_nodes < 150, num=200)
    assert 0 < len(small) < 200
    assert all(data.num_nodes < 150 for data in small)
    everything = DeepNets1M(root, "train")
    assert [data.index for data in small] == [i for i in range(200) if everything.graph_sizes[i] < 150]
    with pytest.raises(ValueError, match="has 300 networks, but num is 301"):
        DeepNets1M(root, "train", num=301)


def test_missing_file_is_generated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = DeepNets1M(tmp_path, "val", num=30)
    out, err = capfd.readouterr()
    assert "generating" in out
    assert "30/30" in err  # the progress bar
    assert len(dataset) == 30
    with pytest.warns(UserWarning, match="has 30 of the 500 networks of val; num=30 says that this is meant"):
        assert len(DeepNets1M(tmp_path, "val")) == 30
    assert len(DeepNets1M(tmp_path, "val", num=40, force_reload=True)) == 40


@pytest.mark.filterwarnings("error")
def test_files_of_other_networks_are_noticed(tmp_path: Path) -> None:
    whole = generate(split_path(tmp_path, "bnfree"), "bnfree", workers=1)
    assert len(DeepNets1M(tmp_path, "bnfree")) == 100
    assert len(DeepNets1M(tmp_path, "bnfree", num=3)) == 3
    generate(whole, "bnfree", num=3, seed=7, workers=1, overwrite=True)
    with pytest.raises(UserWarning, match="networks of bnfree sampled with seed 7"):
        DeepNets1M(tmp_path, "bnfree", num=3)


def test_compressed_files_read_the_same(root: Path, tmp_path: Path) -> None:
    generate(split_path(tmp_path, "train"), "train", num=50, workers=1, compress=True)
    for a, b in zip(DeepNets1M(tmp_path, "train"), DeepNets1M(root, "train", num=50), strict=True):
        assert_same(a, b)


def test_pickling(root: Path) -> None:
    dataset = DeepNets1M(root, "train")[5:9]
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - as spawned data loader workers do
    assert_same(again[2], dataset[2])


def test_pickles_are_opened_in_any_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As workers of a cluster do."""
    monkeypatch.chdir(root)
    data = pickle.dumps(DeepNets1M(".", "train"))
    monkeypatch.chdir(tmp_path)
    assert len(pickle.loads(data)) == len(DeepNets1M(root, "train"))  # noqa: S301 - its own


def test_bad_input(root: Path) -> None:
    dataset = DeepNets1M(root, "wide")
    for index in (20, -21, np.int64(99)):
        with pytest.raises(IndexError, match="out of range: the data set has 20 networks"):
            dataset[index]
    with pytest.raises(IndexError, match="index 20 is out of range"):
        dataset.file.architecture(20)
    with pytest.raises(ValueError, match="there is no split 'foo'"):
        DeepNets1M(root, "foo")
    with pytest.raises(ValueError, match="num is 0"):
        DeepNets1M(root, "train", num=0)
    with pytest.raises(ValueError, match="image_size is 64"):
        DeepNets1M(root, "train", image_size=64)
    for index in (20, -21):
        with pytest.raises(IndexError, match="out of range"):
            dataset.architecture(index)
        with pytest.raises(IndexError, match="out of range"):
            dataset.__getitems__([0, index])
    assert dataset.__getitems__([]) == []
    none = DeepNets1M(root, "wide", pre_filter=lambda data: False)
    assert len(none) == len(none.graph_sizes) == 0
    (root / "deepnets1m_deep.hdf5").write_bytes((root / "deepnets1m_wide.hdf5").read_bytes())
    with pytest.raises(ValueError, match="holds the split 'wide', not 'deep'"):
        DeepNets1M(root, "deep")
    with pytest.raises(ValueError, match="num_classes is 0"):
        DeepNets1M(root, "wide", num_classes=0)


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    path = generate(split_path(tmp_path, "val"), "val", num=5, workers=1)
    pickled = pickle.dumps(DeepNets1M(tmp_path, "val"))
    generate(path, "val", num=4, workers=1, overwrite=True)
    with pytest.raises(ValueError, match="was replaced while it was in use"):
        pickle.loads(pickled)  # noqa: S301 - as spawned data loader workers do
