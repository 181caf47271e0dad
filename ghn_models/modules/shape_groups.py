"""Shape groups: parameters of one kind and shape, which are decoded together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ghn_models.config import GHNConfig
from ghn_models.inputs.prediction_targets import ParameterKind, Shape

_MAX_AT_ONCE = 2**26  # numbers decoded together when no gradient is needed


@dataclass(frozen=True)
class NodeSlot:
    """A node whose parameters are predicted.

    Args:
        graph: its graph in the meta-batch.
        row: its row among the features of all nodes.
        names: its parameters, as in `PredictionTarget`.
    """

    graph: int
    row: int
    names: tuple[str, str | None]


ShapeGroups = Mapping[tuple[ParameterKind, Shape], list[NodeSlot]]
"""Nodes by how their parameter is predicted, and by its shape."""


class ShapeGroup(NamedTuple):
    """Nodes whose parameters are of one kind and shape."""

    kind: ParameterKind
    shape: Shape
    slots: list[NodeSlot]


def decode_chunks(groups: ShapeGroups, config: GHNConfig) -> list[list[ShapeGroup]]:
    """Divide groups into chunks that are decoded together.

    With gradients there is one chunk, without as many as keep the memory of each small.
    """
    everything = [ShapeGroup(kind, shape, slots) for (kind, shape), slots in groups.items()]
    if torch.is_grad_enabled():
        return [everything] if everything else []
    return _small_chunks(everything, config)


def _small_chunks(groups: Sequence[ShapeGroup], config: GHNConfig) -> list[list[ShapeGroup]]:
    k, s = config.decoder_channels, config.kernel_size
    chunks: list[list[ShapeGroup]] = [[]]
    room = _MAX_AT_ONCE
    # Shapes that read the same channels come together, since they need the same part of the decoder's weights.
    for kind, shape, slots in sorted(groups, key=lambda group: [min(c, k) for c in group.shape[:2]]):
        numbers = min(shape[0], k) * min(shape[1], k) * min(shape[2], s) * min(shape[3], s)
        step = max(1, _MAX_AT_ONCE // numbers)
        for start in range(0, len(slots), step):
            part = slots[start : start + step]
            if chunks[-1] and numbers * len(part) > room:
                chunks.append([])
                room = _MAX_AT_ONCE
            chunks[-1].append(ShapeGroup(kind, shape, part))
            room -= numbers * len(part)
    return [chunk for chunk in chunks if chunk]
