"""Random architectures before any check that needs their graph: one for each row of a table of uniform numbers."""

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable
from deepnets.design_space.genotype import MAX_STEPS, OPERATION_INDEX, OPERATIONS
from deepnets.sampling.splits import SplitRules

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

GENERATION_CHANNELS = 32
"""Width at which parameters are counted while sampling."""

_FC_DIM = 256

_CONVOLUTIONS = tuple(OPERATION_INDEX[op] for op in OPERATIONS if "conv" in op)
_LARGE_KERNELS = (OPERATION_INDEX["conv_5x5"], OPERATION_INDEX["conv_7x7"])
_WITHOUT_PARAMETERS = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")
assert OPERATIONS[: len(_WITHOUT_PARAMETERS)] == _WITHOUT_PARAMETERS

_SCALARS = (
    *("n_cells", "deep", "steps", "only_pool", "drop_concat", "ks", "C_mult", "preproc"),
    *("glob_avg", "norm", "stem_type", "stem_pool", "fc_layers"),
)
_COLUMN = {name: column for column, name in enumerate(_SCALARS)}
_CONCAT = len(_SCALARS)
_EDGES = _CONCAT + MAX_STEPS - 1
_ROW = -(-(_EDGES + 8 * MAX_STEPS) // 4) * 4
"""Uniform numbers for one proposal; a multiple of the four numbers that Philox makes at a time."""


def uniform_numbers(seed: int, split: str, proposal: int, start: int, stop: int) -> Floats:
    """Return rows start to stop of the table of uniform numbers of one proposal.

    The table is a counter-based random stream (Philox), so that any range of rows is read directly.

    Returns:
        (stop - start, numbers) numbers in [0, 1).
    """
    key = np.random.SeedSequence(seed, spawn_key=(*split.encode(), proposal)).generate_state(2, np.uint64)
    stream = np.random.Philox(key=key, counter=[start * _ROW // 4, 0, 0, 0])
    raw = stream.random_raw((stop - start) * _ROW).reshape(-1, _ROW)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def propose(rules: SplitRules, u: Floats) -> ArchitectureTable:
    """Return one random architecture for each row of uniform numbers."""

    def column(name: str) -> Floats:
        return u[:, _COLUMN[name]]

    n_cells = _integers(column("n_cells"), *rules.n_cells)
    deep = n_cells > _integers(column("deep"), *rules.deep)
    low, high = (np.where(deep, *ends) for ends in zip(rules.deep_steps, rules.steps, strict=True))
    steps = _integers(column("steps"), low, high)
    ops, inputs = _sample_edges(u, steps)
    vit = (ops == OPERATION_INDEX["msa"]).any(axis=(1, 2))
    C_mult = _integers(column("C_mult"), 1, 2)
    stem_type = _integers(column("stem_type"), 0, 1)
    return ArchitectureTable(
        n_cells=n_cells.astype(np.uint8),
        channels=np.full(len(u), GENERATION_CHANNELS, np.uint16),
        bn=_sample_norm(rules, column("norm"), n_cells, steps),
        ks=(2 * _integers(column("ks"), 1, 3) + 1).astype(np.uint8),
        preproc=(steps > 1) | (C_mult > 1) | (column("preproc") < np.where(vit, 0.2, rules.preproc)),
        glob_avg=vit | deep | (column("glob_avg") < 0.9),
        stem_type=stem_type.astype(np.uint8),
        stem_pool=(stem_type == 0) & (column("stem_pool") < 0.5),
        C_mult=C_mult.astype(np.uint8),
        fc_layers=_integers(column("fc_layers"), 1, 2).astype(np.uint8),
        fc_dim=np.full(len(u), _FC_DIM, np.uint16),
        ops=ops.astype(np.uint8),
        inputs=inputs.astype(np.uint8),
        concat=_sample_concat(u, steps).astype(np.uint16),
    )


def _integers(u: Floats, low: Ints | int, high: Ints | int) -> Ints:
    """Return integers from low to high, both included."""
    return (low + np.floor(u * (np.asarray(high) - low + 1))).astype(np.int64)


def _sample_norm(rules: SplitRules, u: Floats, n_cells: Ints, steps: Ints) -> Mask:
    """Return (B,) whether networks have batch norm; with the rule "any", half of the small networks have none."""
    if rules.norm != "any":
        return np.full(len(u), rules.norm == "bn")
    small = (n_cells <= rules.n_cells[0] + 1) & (steps <= rules.deep_steps[1])
    return ~small | (u < 0.5)


def _sample_edges(u: Floats, steps: Ints) -> tuple[Ints, Ints]:
    """Return the (B, 2, E) operations and inputs of the cells' edges, as in `ArchitectureTable`.

    Half of the reduction cells have operations without parameters only. Cells with one step have no `none`.
    """
    n_edges = 2 * int(steps.max())
    edge = np.arange(n_edges)
    numbers = u[:, _EDGES : _EDGES + 8 * MAX_STEPS].reshape(-1, 2, 2, 2 * MAX_STEPS)
    u_op, u_input = numbers[:, :, 0, :n_edges], numbers[:, :, 1, :n_edges]  # (B, cell, E)
    first_op = np.where(steps > 1, 0, 1)
    last_op = np.full((len(u), 2), len(OPERATIONS) - 1)
    last_op[u[:, _COLUMN["only_pool"]] < 0.5, 1] = len(_WITHOUT_PARAMETERS) - 1
    ops = _integers(u_op, first_op[:, None, None], last_op[:, :, None])
    choices = edge // 2 + 2  # states that an edge can read
    second = edge % 2  # the second edge of a step reads another state than the first
    inputs = np.floor(u_input * (choices - second)).astype(np.int64)
    inputs[..., 1::2] += inputs[..., 1::2] >= inputs[..., ::2]
    beyond = np.broadcast_to((edge >= 2 * steps[:, None])[:, None, :], ops.shape)
    ops[beyond] = NO_EDGE
    inputs[beyond] = NO_EDGE
    return ops, inputs


def _sample_concat(u: Floats, steps: Ints) -> Ints:
    """Return the (B, 2) states that cells concatenate, as bits; the two cells of a network have the same.

    Half of the networks concatenate all states, others the last one and a random half of those before.
    """
    drop = (u[:, _COLUMN["drop_concat"]] < 0.5) & (steps > 1)
    state = np.arange(2, 2 + MAX_STEPS)
    kept = np.ones((len(u), MAX_STEPS), np.bool_)
    kept[:, :-1] = ~drop[:, None] | (u[:, _CONCAT:_EDGES] < 0.5)
    last = steps[:, None] + 1
    kept[state == last] = True
    concat = ((kept & (state <= last)) << state).sum(axis=1)
    return np.stack([concat, concat], axis=1)


def is_plausible(table: ArchitectureTable) -> Mask:
    """Return (B,) whether architectures pass the checks that need the genotype only.

    A cell has at most one squeeze-and-excitation and one convolution with a large kernel. A network has convolutions
    in its cells, or attention without squeeze-and-excitation.
    """
    ops = table.ops
    cse = ops == OPERATION_INDEX["cse"]
    convolution = np.isin(ops, _CONVOLUTIONS).any(axis=(1, 2))
    once = (cse.sum(axis=2) <= 1).all(axis=1) & (np.isin(ops, _LARGE_KERNELS).sum(axis=2) <= 1).all(axis=1)
    plausible: Mask = once & (convolution | (table.is_vit & ~cse.any(axis=(1, 2))))
    return plausible
