"""Widths at which networks are evaluated (DeepNets-1M paper, section 3)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.design_space.image_sizes import IMAGE_SIZES
from deepnets.sampling.proposals import GENERATION_CHANNELS
from deepnets.sampling.splits import split_rules
from deepnets.symbolic.builder import count_parameters

Ints = NDArray[np.int64]

EVALUATION_PARAMETERS = 2_500_000
"""Evaluation networks get the smallest width with at least as many parameters (32x32 inputs, 10 classes)."""

WIDE_FACTORS = {32: 4, 224: 2}
"""Widths of the split wide relative to those of other evaluation networks, by image size."""

_WIDTH_STEP = 16


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
        channels[small] += _WIDTH_STEP
    return dict.fromkeys(IMAGE_SIZES, channels)


def _wide_channels(table: ArchitectureTable) -> dict[int, Ints]:
    evaluated = _evaluation_channels(table)
    return {size: WIDE_FACTORS[size] * evaluated[size] for size in IMAGE_SIZES}


_CHANNELS: dict[str, Callable[[ArchitectureTable], dict[int, Ints]]] = {
    "fixed": _fixed_channels,
    "evaluation": _evaluation_channels,
    "wide": _wide_channels,
}
