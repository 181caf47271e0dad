"""Random networks of every split (DeepNets-1M paper, sections 3 and A.1).

Network i of a split depends on (seed, split, i) only. Its k-th proposal reads row i of a table of uniform numbers,
which is keyed by (seed, split, k); the first proposal that passes all checks is the network. Any range of networks is
sampled directly, so that work can be cut in any way.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.design_space.image_sizes import IMAGE_SIZES, check_image_size
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.sampling.evaluation_widths import split_channels
from deepnets.sampling.proposals import is_plausible, propose, uniform_numbers
from deepnets.sampling.splits import SplitRules, split_rules
from deepnets.symbolic.builder import build_graphs
from deepnets.utils.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Networks:
    """Consecutive networks of a split: architectures at 32 channels, widths, parameter counts and graphs.

    Args:
        table: B architectures at 32 channels.
        channels_by_size: (B,) widths at which the networks are evaluated, by image size.
        num_params_by_size: (B,) numbers of parameters at 32 channels with 10 classes, by image size.
        graphs: B graphs; widths and image sizes do not change them.
    """

    table: ArchitectureTable
    channels_by_size: Mapping[int, Ints]
    num_params_by_size: Mapping[int, Ints]
    graphs: GraphColumns

    def __len__(self) -> int:
        return len(self.table)

    def channels(self, image_size: int) -> Ints:
        """Return the (B,) widths at which the networks are evaluated.

        Raises:
            InputError: an image size other than 32 and 224.
        """
        check_image_size(image_size)
        return self.channels_by_size[image_size]

    def num_params(self, image_size: int) -> Ints:
        """Return the (B,) numbers of parameters at 32 channels with 10 classes.

        Raises:
            InputError: an image size other than 32 and 224.
        """
        check_image_size(image_size)
        return self.num_params_by_size[image_size]

    def architectures(self, image_size: int) -> ArchitectureTable:
        """Return the architectures at the widths at which they are evaluated."""
        return self.table.with_channels(self.channels(image_size))


def sample_networks(split: str, start: int, stop: int, seed: int = 0) -> Networks:
    """Sample networks start to stop of a split; more can be sampled than the published split has.

    >>> sample_networks("test", 3, 5).table.n_cells.tolist()
    [5, 6]

    Args:
        split: a name in `SPLITS`.
        start, stop: index of the first network, and of the one after the last.
        seed: root seed of the data set.

    Raises:
        InputError: an unknown split, or an empty or negative range.
    """
    rules = split_rules(split)
    if not 0 <= start < stop:
        raise InputError(f"the range of networks is {start} to {stop}; it starts at 0 or later and is not empty")
    proposals = _Proposals(rules, split, seed, start, stop)
    tables, params, graphs, order = [], [], [], []
    pending = np.arange(stop - start)
    while len(pending):
        table = proposals.next_plausible(pending)
        unpruned = build_graphs(table)
        counts = np.stack([unpruned.count_parameters(size, 10) for size in IMAGE_SIZES])
        accepted = np.flatnonzero((counts <= rules.max_params).all(axis=0) & unpruned.connected)
        tables.append(table.take(accepted))
        params.append(counts[:, accepted])
        graphs.append(unpruned.prune().take(accepted))
        order.append(pending[accepted])
        pending = np.delete(pending, accepted)
    at = np.argsort(np.concatenate(order))
    table = ArchitectureTable.concatenate(tables).take(at)
    num_params = dict(zip(IMAGE_SIZES, np.concatenate(params, axis=1)[:, at], strict=True))
    return Networks(table, split_channels(split, table), num_params, GraphColumns.concatenate(graphs).take(at))


class _Proposals:
    """Proposals for a range of networks, each of which is asked for until it is accepted."""

    def __init__(self, rules: SplitRules, split: str, seed: int, start: int, stop: int) -> None:
        self._rules, self._split, self._seed, self._start, self._stop = rules, split, seed, start, stop
        self._next = np.zeros(stop - start, np.int64)  # number of each network's next proposal

    def next_plausible(self, networks: Ints) -> ArchitectureTable:
        """Return the next plausible proposal of each of the networks."""
        tables, order = [], []
        waiting = np.arange(len(networks))
        while len(waiting):
            number = int(self._next[networks[waiting]].min())
            current = waiting[self._next[networks[waiting]] == number]
            u = uniform_numbers(self._seed, self._split, number, self._start, self._stop)
            table = propose(self._rules, u[networks[current]])
            self._next[networks[current]] += 1
            plausible = is_plausible(table)
            tables.append(table.take(plausible))
            order.append(current[plausible])
            waiting = np.setdiff1d(waiting, current[plausible], assume_unique=True)
        return ArchitectureTable.concatenate(tables).take(np.argsort(np.concatenate(order)))
