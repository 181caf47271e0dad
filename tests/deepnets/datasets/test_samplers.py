"""Meta-batches: every epoch in a new order, and none too large."""

from pathlib import Path

import numpy as np
import pytest
from torch_geometric.loader import DataLoader

from deepnets import DeepNets1M, MetaBatchSampler

pytestmark = pytest.mark.filterwarnings("ignore:.* says that this is meant")


def test_meta_batches(root: Path) -> None:
    dataset = DeepNets1M(root, "train")
    sampler = MetaBatchSampler(dataset, meta_batch_size=8, max_nodes=2200, seed=1)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 37
    sizes = dataset.graph_sizes
    assert all(len(set(batch)) == 8 and sizes[batch].sum() <= 2200 for batch in batches)
    assert list(sampler) != batches  # the next epoch
    assert list(MetaBatchSampler(dataset, 8, seed=1)) == batches
    assert list(MetaBatchSampler(dataset, 8, seed=2)) != batches
    tight = MetaBatchSampler(dataset, meta_batch_size=4, max_nodes=700)
    assert all(sizes[batch].sum() <= 700 for batch in tight)
    assert any(sizes[perm].sum() > 700 for perm in np.random.default_rng([0, 0]).permutation(300).reshape(-1, 4))
    loader = DataLoader(dataset, batch_sampler=sampler)
    assert all(batch.num_graphs == 8 and batch.num_nodes <= 2200 for batch in loader)


def test_bad_input(root: Path) -> None:
    dataset = DeepNets1M(root, "wide")
    with pytest.raises(ValueError, match="above max_nodes = 100"):
        MetaBatchSampler(dataset, 8, max_nodes=100)
    with pytest.raises(ValueError, match="meta_batch_size is 0"):
        MetaBatchSampler(dataset, 0)
    sizes = np.sort(dataset.graph_sizes)
    with pytest.raises(ValueError, match="1000 random meta-batches of 15 architectures all had more"):
        list(MetaBatchSampler(dataset, 15, max_nodes=int(sizes[:15].sum())))
