"""Widths of training networks follow the rule of the published loaders."""

import numpy as np
import pytest

from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.training_widths import TRAINING_CHANNELS, TRAINING_FC_DIMS, sample_training_widths


@pytest.mark.parametrize(("wider", "most", "cells", "widths"), [(False, 0.8, 12, (48, 64)), (True, 2, 14, (80, 96))])
def test_training_widths_follow_the_rule(wider: bool, most: float, cells: int, widths: tuple[int, int]) -> None:
    networks = sample_networks("train", 0, 3000)
    table, params = networks.table, networks.num_params(32)
    channels, fc_dim = sample_training_widths(table, params, np.random.default_rng(1), wider)
    for i in range(len(table)):
        architecture, p = table[i], params[i] / 1e6
        ops = {op for op, _ in architecture.genotype.normal + architecture.genotype.reduce}
        n_cells = architecture.n_cells
        fc_largest = 256
        if p > most or not architecture.glob_avg or ops & {"conv_5x5", "conv_7x7"} or n_cells > cells:
            largest = 32
        elif p > 0.4 or n_cells > 10:
            largest = widths[0]
        elif p > 0.2 or n_cells > 8:
            largest = widths[1]
        else:
            largest = 128
            fc_largest = 512 if channels[i] <= 64 else 256
        assert 32 <= channels[i] <= largest
        assert 64 <= fc_dim[i] <= fc_largest
    assert set(channels.tolist()) == set(TRAINING_CHANNELS.tolist())
    assert set(fc_dim.tolist()) == set(TRAINING_FC_DIMS.tolist())


def test_training_widths_are_uniform() -> None:
    """Only networks that may have any width get one above 64, so these widths are equally frequent."""
    networks = sample_networks("train", 0, 500)
    often = np.repeat(np.arange(500), 100)
    table, params = networks.table.take(often), networks.num_params(32)[often]
    channels, _ = sample_training_widths(table, params, np.random.default_rng(2))
    counts = np.bincount((channels[channels > 64] - 80) // 16)
    assert len(counts) == 4
    assert (abs(counts - counts.mean()) < 4 * np.sqrt(counts.mean())).all()
