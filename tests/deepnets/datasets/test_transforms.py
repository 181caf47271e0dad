"""Virtual edges."""

from pathlib import Path

import pytest
import torch

from deepnets import DeepNets1M, VirtualEdges

pytestmark = pytest.mark.filterwarnings("ignore:.* says that this is meant")


def test_a_large_cutoff_is_none(root: Path) -> None:
    data = DeepNets1M(root, "wide")[0]
    everything, huge = VirtualEdges(data.num_nodes)(data.clone()), VirtualEdges(10**6)(data.clone())
    assert torch.equal(everything.edge_index, huge.edge_index)
    assert huge.edge_attr.max() < data.num_nodes


def test_virtual_edges_keep_the_true_edges(root: Path) -> None:
    plain, virtual = (DeepNets1M(root, "train", transform=t) for t in (None, VirtualEdges(cutoff=50)))
    for i in (0, 7, 100):
        true = virtual[i].edge_index[:, virtual[i].edge_attr == 1]
        assert set(map(tuple, true.T.tolist())) == set(map(tuple, plain[i].edge_index.T.tolist()))
        assert virtual[i].edge_attr.max() <= 50
