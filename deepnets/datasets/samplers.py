"""Meta-batches: the architectures of one training step of a GHN, at random and of bounded size."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    from deepnets.datasets.deepnets1m import DeepNets1M

Ints = NDArray[np.int64]

_MAX_TRIES = 1000


def random_meta_batches(candidates: int | Ints, meta_batch_size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Sample meta-batches without end.

    Args:
        candidates: the architectures to choose from, or their number.
        meta_batch_size: architectures in a meta-batch; they are distinct if there are enough candidates.
        rng: source of randomness, used whenever the next meta-batch is asked for.
    """
    count = candidates if isinstance(candidates, int) else len(candidates)
    while True:
        yield rng.choice(candidates, meta_batch_size, replace=count < meta_batch_size)


def first_that_fits(meta_batches: Iterable[Ints], num_nodes: NDArray[np.integer], max_nodes: int) -> Ints:
    """Return the first meta-batch that has few enough nodes (DeepNets-1M paper, section B.2.3).

    Args:
        meta_batches: proposals; at most 1000 are tried.
        num_nodes: (B,) nodes of each architecture.
        max_nodes: the largest number of nodes of a meta-batch.

    Raises:
        InputError: all proposals have more nodes.

    >>> first_that_fits([np.array([0, 1]), np.array([0, 2])], num_nodes=np.array([50, 90, 40]), max_nodes=100)
    array([0, 2])
    """
    meta_batch: Ints = np.empty(0, np.int64)
    for meta_batch in islice(meta_batches, _MAX_TRIES):
        if num_nodes[meta_batch].sum() <= max_nodes:
            return meta_batch
    raise InputError(
        f"{_MAX_TRIES} random meta-batches of {len(meta_batch)} architectures all had more than {max_nodes} "
        "nodes; use smaller ones (meta_batch_size) or allow more nodes (max_nodes)"
    )


class MetaBatchSampler(Sampler[list[int]]):
    """Meta-batches of architectures for training GHNs (DeepNets-1M paper, section B.2.3).

    Every epoch is a new random order of the data set; a meta-batch with more than `max_nodes` nodes is replaced by
    random ones until one fits. Pass it as `batch_sampler` to a `torch_geometric.loader.DataLoader`.

    Args:
        dataset: the architectures.
        meta_batch_size: architectures in a meta-batch.
        max_nodes: the largest number of nodes of a meta-batch.
        seed: decides the order; epoch k of a seed is always the same.

    Raises:
        InputError: `max_nodes` is below the nodes of every meta-batch, or of 1000 random ones in a row.

    >>> sampler = MetaBatchSampler(dataset, meta_batch_size=8)  # doctest: +SKIP
    >>> loader = DataLoader(dataset, batch_sampler=sampler)  # doctest: +SKIP
    """

    def __init__(self, dataset: "DeepNets1M", meta_batch_size: int = 8, max_nodes: int = 2200, seed: int = 0) -> None:
        self.sizes = dataset.graph_sizes
        if not 1 <= meta_batch_size <= len(self.sizes):
            raise InputError(f"meta_batch_size is {meta_batch_size}; accepted: 1 to {len(self.sizes)}, the data set")
        smallest = int(np.sort(self.sizes)[:meta_batch_size].sum())
        if smallest > max_nodes:
            raise InputError(
                f"any {meta_batch_size} architectures have {smallest} nodes or more, above max_nodes = {max_nodes}"
            )
        self.meta_batch_size, self.max_nodes, self.seed = meta_batch_size, max_nodes, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.sizes) // self.meta_batch_size

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        order = rng.permutation(len(self.sizes))
        others = random_meta_batches(len(self.sizes), self.meta_batch_size, rng)
        for start in range(0, len(self) * self.meta_batch_size, self.meta_batch_size):
            next_in_order = order[start : start + self.meta_batch_size]
            yield first_that_fits(chain([next_in_order], others), self.sizes, self.max_nodes).tolist()
