"""Random architectures: the rules of every split (DeepNets-1M paper, sections 3 and A.1).

Architecture i of a split depends on (seed, split, i) only. Its k-th proposal reads row i of a table of uniform
numbers, a counter-based random stream (Philox) keyed by (seed, split, k); the first proposal that passes all checks
is the architecture. Any range of rows is read directly, so work can be cut in any way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable
from deepnets.design_space.genotype import MAX_STEPS, OPERATION_INDEX, OPERATIONS
from deepnets.design_space.image_sizes import IMAGE_SIZES, check_image_size
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.sampling.splits import SplitRules, split_rules
from deepnets.symbolic.builder import build_graphs, count_parameters

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

GENERATION_CHANNELS = 32
"""Width at which parameters are counted while generating."""

EVALUATION_PARAMETERS = 2_500_000
"""Evaluation networks get the smallest width with at least as many parameters (32x32 inputs, 10 classes)."""

WIDE_FACTORS = {32: 4, 224: 2}
"""How much wider than evaluation networks those of the split wide are, by image size."""


_CONVOLUTIONS = tuple(OPERATION_INDEX[op] for op in OPERATIONS if "conv" in op)
_LARGE = (OPERATION_INDEX["conv_5x5"], OPERATION_INDEX["conv_7x7"])
_POOLING = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")
assert OPERATIONS[: len(_POOLING)] == _POOLING

_SCALARS = (
    *("n_cells", "deep", "steps", "only_pool", "drop_concat", "ks", "C_mult", "preproc"),
    *("glob_avg", "norm", "stem_type", "stem_pool", "fc_layers"),
)
_COLUMN = {name: column for column, name in enumerate(_SCALARS)}
_CONCAT = len(_SCALARS)
_EDGES = _CONCAT + MAX_STEPS - 1
_ROW = -(-(_EDGES + 8 * MAX_STEPS) // 4) * 4
"""Uniform numbers for one proposal; a multiple of the four numbers that Philox makes at a time."""


def _uniforms(seed: int, split: str, proposal: int, start: int, stop: int) -> NDArray[np.float64]:
    """(stop - start, _ROW) numbers in [0, 1): rows start to stop of the table of one proposal."""
    key = np.random.SeedSequence(seed, spawn_key=(*split.encode(), proposal)).generate_state(2, np.uint64)
    stream = np.random.Philox(key=key, counter=[start * _ROW // 4, 0, 0, 0])
    raw = stream.random_raw((stop - start) * _ROW).reshape(-1, _ROW)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _integer(u: NDArray[np.float64], low: Ints | int, high: Ints | int) -> Ints:
    """Integers from low to high, both included."""
    return (low + np.floor(u * (np.asarray(high) - low + 1))).astype(np.int64)


def _genotypes(u: NDArray[np.float64], steps: Ints) -> tuple[Ints, Ints, Ints]:
    """Operations and inputs of the cells' edges and the concatenated states, as in `ArchitectureTable`."""
    n_edges = 2 * int(steps.max())
    edge = np.arange(n_edges)
    first_op = np.where(steps > 1, 0, 1)  # `none` needs several steps
    only_pool = u[:, _COLUMN["only_pool"]] < 0.5
    draws = u[:, _EDGES : _EDGES + 8 * MAX_STEPS].reshape(-1, 2, 2, 2 * MAX_STEPS)[..., :n_edges]  # (B, cell, what, E)
    last_op = np.full((len(u), 2), len(OPERATIONS) - 1)
    last_op[only_pool, 1] = len(_POOLING) - 1
    ops = _integer(draws[:, :, 0], first_op[:, None, None], last_op[:, :, None])
    choices = edge // 2 + 2  # states that an edge can read
    second = edge % 2  # the second edge of a step reads another state than the first
    inputs = np.floor(draws[:, :, 1] * (choices - second)).astype(np.int64)
    inputs[..., 1::2] += inputs[..., 1::2] >= inputs[..., ::2]
    beyond = np.broadcast_to((edge >= 2 * steps[:, None])[:, None, :], ops.shape)
    ops[beyond] = NO_EDGE
    inputs[beyond] = NO_EDGE

    drop = (u[:, _COLUMN["drop_concat"]] < 0.5) & (steps > 1)
    state = np.arange(2, 2 + MAX_STEPS)
    kept = np.ones((len(u), MAX_STEPS), np.bool_)
    kept[:, :-1] = ~drop[:, None] | (u[:, _CONCAT:_EDGES] < 0.5)
    last = steps[:, None] + 1
    kept[state == last] = True
    concat = ((kept & (state <= last)) << state).sum(axis=1)
    return ops, inputs, np.stack([concat, concat], axis=1)


def _propose(rules: SplitRules, u: NDArray[np.float64]) -> ArchitectureTable:
    """One proposal per row of uniform numbers."""

    def column(name: str) -> NDArray[np.float64]:
        return u[:, _COLUMN[name]]

    n_cells = _integer(column("n_cells"), *rules.n_cells)
    deep = n_cells > _integer(column("deep"), *rules.deep)
    low = np.where(deep, rules.deep_steps[0], rules.steps[0])
    high = np.where(deep, rules.deep_steps[1], rules.steps[1])
    steps = _integer(column("steps"), low, high)
    ops, inputs, concat = _genotypes(u, steps)
    vit = (ops == OPERATION_INDEX["msa"]).any(axis=(1, 2))
    C_mult = _integer(column("C_mult"), 1, 2)
    small = (n_cells <= rules.n_cells[0] + 1) & (steps <= rules.deep_steps[1])
    either = np.where(small, column("norm") < 0.5, True)
    bn = {"bn": np.ones(len(u), np.bool_), None: np.zeros(len(u), np.bool_), "any": either}[rules.norm]
    stem_type = _integer(column("stem_type"), 0, 1)
    return ArchitectureTable(
        n_cells=n_cells.astype(np.uint8),
        channels=np.full(len(u), GENERATION_CHANNELS, np.uint16),
        bn=bn,
        ks=(2 * _integer(column("ks"), 1, 3) + 1).astype(np.uint8),
        preproc=(steps > 1) | (C_mult > 1) | (column("preproc") < np.where(vit, 0.2, rules.preproc)),
        glob_avg=vit | deep | (column("glob_avg") < 0.9),
        stem_type=stem_type.astype(np.uint8),
        stem_pool=(stem_type == 0) & (column("stem_pool") < 0.5),
        C_mult=C_mult.astype(np.uint8),
        fc_layers=_integer(column("fc_layers"), 1, 2).astype(np.uint8),
        fc_dim=np.full(len(u), 256, np.uint16),
        ops=ops.astype(np.uint8),
        inputs=inputs.astype(np.uint8),
        concat=concat.astype(np.uint16),
    )


def _plausible(table: ArchitectureTable) -> Mask:
    """Checks that need the genotype only."""
    ops = table.ops
    cse = ops == OPERATION_INDEX["cse"]
    convolution = np.isin(ops, _CONVOLUTIONS).any(axis=(1, 2))
    once = (cse.sum(axis=2) <= 1).all(axis=1) & (np.isin(ops, _LARGE).sum(axis=2) <= 1).all(axis=1)
    return once & (convolution | (table.is_vit & ~cse.any(axis=(1, 2))))


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
            ValueError: an image size other than 32 and 224.
        """
        check_image_size(image_size)
        return self.channels_by_size[image_size]

    def num_params(self, image_size: int) -> Ints:
        """Return the (B,) numbers of parameters at 32 channels with 10 classes.

        Raises:
            ValueError: an image size other than 32 and 224.
        """
        check_image_size(image_size)
        return self.num_params_by_size[image_size]

    def architectures(self, image_size: int) -> ArchitectureTable:
        """Return the architectures at the widths at which they are evaluated."""
        return self.table.with_channels(self.channels(image_size))


def sample_networks(split: str, start: int, stop: int, seed: int = 0) -> Networks:
    """Networks start to stop of a split (any number can be sampled, more than the published split has).

    Args:
        split: a name in `SPLITS`.
        start, stop: indices of the first network and behind the last.
        seed: root seed of the data set.

    Raises:
        ValueError: an unknown split, an empty or negative range.
    """
    rules = split_rules(split)
    if not 0 <= start < stop:
        raise ValueError(f"the range of networks is {start} to {stop}; it starts at 0 or later and is not empty")
    proposal = np.zeros(stop - start, np.int64)
    pending = np.arange(stop - start)
    parts, order = [], []
    while len(pending):
        table = _next_plausible(rules, split, seed, start, stop, proposal, pending)
        graphs = build_graphs(table)
        params = np.stack([graphs.count_parameters(size, 10) for size in IMAGE_SIZES])
        accepted = (params <= rules.max_params).all(axis=0) & graphs.connected
        rows = np.flatnonzero(accepted)
        parts.append((table.take(rows), params[:, rows], graphs.prune().take(rows)))
        order.append(pending[rows])
        pending = pending[~accepted]
        proposal[pending] += 1
    at = np.argsort(np.concatenate(order))
    table = ArchitectureTable.concatenate([part[0] for part in parts]).take(at)
    params = np.concatenate([part[1] for part in parts], axis=1)[:, at]
    columns = GraphColumns.concatenate([part[2] for part in parts]).take(at)
    return Networks(table, split_channels(split, table), dict(zip(IMAGE_SIZES, params, strict=True)), columns)


def _next_plausible(
    rules: SplitRules, split: str, seed: int, start: int, stop: int, proposal: Ints, pending: Ints
) -> ArchitectureTable:
    """The next plausible proposal of each pending network; advances `proposal` to its number."""
    found, order = [], []
    waiting = np.arange(len(pending))
    while len(waiting):
        number = int(proposal[pending[waiting]].min())
        now = waiting[proposal[pending[waiting]] == number]
        table = _propose(rules, _uniforms(seed, split, number, start, stop)[pending[now]])
        good = _plausible(table)
        found.append(table.take(good))
        order.append(now[good])
        proposal[pending[now[~good]]] += 1
        waiting = np.setdiff1d(waiting, now[good], assume_unique=True)
    return ArchitectureTable.concatenate(found).take(np.argsort(np.concatenate(order)))


def split_channels(split: str, table: ArchitectureTable) -> dict[int, Ints]:
    """Return the (B,) widths at which the networks of a split are evaluated, by image size."""
    return _CHANNELS[split_rules(split).width](table)


def _fixed_channels(table: ArchitectureTable) -> dict[int, Ints]:
    return dict.fromkeys(IMAGE_SIZES, table.channels.astype(np.int64))


def _evaluation_channels(table: ArchitectureTable) -> dict[int, Ints]:
    """Return the smallest of 32, 48, 64, ... channels with enough parameters, the same for both image sizes."""
    channels = np.full(len(table), GENERATION_CHANNELS)
    small = np.arange(len(table))
    while len(small):
        params = count_parameters(table.take(small).with_channels(channels[small]), 32, 10)
        small = small[params < EVALUATION_PARAMETERS]
        channels[small] += 16
    return dict.fromkeys(IMAGE_SIZES, channels)


def _wide_channels(table: ArchitectureTable) -> dict[int, Ints]:
    evaluated = _evaluation_channels(table)
    return {size: WIDE_FACTORS[size] * evaluated[size] for size in IMAGE_SIZES}


_CHANNELS: dict[str, Callable[[ArchitectureTable], dict[int, Ints]]] = {
    "fixed": _fixed_channels,
    "evaluation": _evaluation_channels,
    "wide": _wide_channels,
}
