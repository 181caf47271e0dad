"""Widths and stem strides of training networks, sampled when a network is loaded, smaller for larger networks."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.design_space.genotype import OPERATION_INDEX

Ints = NDArray[np.int64]

TRAINING_CHANNELS = np.arange(32, 129, 16)
"""Widths of the first cells that training samples from."""

TRAINING_FC_DIMS = np.arange(64, 513, 64)
"""Widths of the classifier's hidden layer that training samples from."""

_LARGE_KERNELS = tuple(OPERATION_INDEX[op] for op in ("conv_5x5", "conv_7x7"))


def sample_training_widths(
    table: ArchitectureTable,
    num_params: NDArray[np.integer],
    rng: np.random.Generator,
    ghn3_imagenet: bool = False,
) -> tuple[Ints, Ints]:
    """Sample widths for training: the larger a network, the fewer widths it may get.

    The DeepNets-1M paper (section 3) bounds training networks to around 3M parameters by "sampling fewer channels if
    necessary". The thresholds are those of its loader, or those of GHN-3 on ImageNet, which allow wider networks.

    Args:
        table: B architectures.
        num_params: (B,) their parameters at 32 channels and 10 classes, for the image size in use; for the widths of
            GHN-3 on ImageNet always on 32x32 inputs.
        rng: source of randomness.
        ghn3_imagenet: sample the widths of GHN-3 on ImageNet.

    Returns:
        (B,) channels of the first cells and (B,) fc_dim.
    """
    n_cells = table.n_cells
    most_params, most_cells, num_widths = (2_000_000, 14, (1, 4, 5)) if ghn3_imagenet else (800_000, 12, (1, 2, 3))
    largest = (num_params > most_params) | (n_cells > most_cells)
    largest |= ~table.glob_avg | _has_large_kernels(table)
    large = (num_params > 400_000) | (n_cells > 10)
    medium = (num_params > 200_000) | (n_cells > 8)
    small = ~(largest | large | medium)
    choices = np.select([largest, large, medium], num_widths, len(TRAINING_CHANNELS))
    channels = TRAINING_CHANNELS[rng.integers(choices)]
    fc_choices = np.where(small & (channels <= 64), len(TRAINING_FC_DIMS), 4)
    return channels, TRAINING_FC_DIMS[rng.integers(fc_choices)]


def with_training_widths(
    table: ArchitectureTable, num_params: NDArray[np.integer], rng: np.random.Generator
) -> ArchitectureTable:
    """Return the architectures with widths sampled as for training; see `sample_training_widths`."""
    channels, fc_dim = sample_training_widths(table, num_params, rng)
    return replace(table.with_channels(channels), fc_dim=fc_dim.astype(np.uint16))


def sample_stride2_stems(
    table: ArchitectureTable, num_params: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Sample which of GHN-3's training networks for ImageNet have a stem with stride 2 instead of 4.

    Half of the networks that stay affordable with the larger maps have it. The conditions are those of GHN-3's public
    loader (`ghn3/deepnets1m.py`).

    Args:
        table: B architectures.
        num_params: (B,) their parameters at 32 channels and 10 classes on 32x32 inputs.
        rng: source of randomness.

    Returns:
        (B,) whether the stride is 2.
    """
    affordable = (num_params <= 200_000) & (table.n_cells <= 8) & ~_has_large_kernels(table)
    affordable &= table.glob_avg & table.stem_pool & (table.stem_type == 0) & ~table.is_vit
    return affordable & (rng.random(len(table)) < 0.5)


def _has_large_kernels(table: ArchitectureTable) -> NDArray[np.bool_]:
    return np.asarray(np.isin(table.ops, _LARGE_KERNELS).any(axis=(1, 2)))
