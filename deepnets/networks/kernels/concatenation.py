"""Concatenation of maps whose gradients are dense.

PyTorch's concatenation returns views of its gradient, whose pixels lie far apart, with the channels of all other maps
between them. On CPUs the backward pass of batch norm takes some fifty times as long for such a view as for a copy.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from deepnets.networks.kernels.autograd_state import is_functorch_transformed, is_recording


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """Concatenate maps along their channels; all derivatives are dense.

    Args:
        maps: (B, C_i, H, W) each.

    Returns:
        (B, sum of C_i, H, W).
    """
    if is_recording(maps[0]):
        joined: Tensor = _Concatenate.apply(*maps)
        return joined
    return torch.cat(tuple(maps), dim=1)


class _Concatenate(Function):
    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tensor:
        whole = torch.cat(maps, dim=1)
        ctx.widths, ctx.layout = [x.shape[1] for x in maps], _layout(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        if is_functorch_transformed(gradient):
            return gradient.split(ctx.widths, dim=1)  # type: ignore[no-any-return]
        return _Split.apply(gradient, ctx.widths, ctx.layout)  # type: ignore[no-any-return]


class _Split(Function):
    """The derivative of `_Concatenate`, which is the derivative of this."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, widths: list[int], layout: torch.memory_format) -> tuple[Tensor, ...]:
        ctx.layout = layout
        return tuple(part.contiguous(memory_format=layout) for part in whole.split(widths, dim=1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        dense = [gradient.contiguous(memory_format=ctx.layout) for gradient in gradients]
        return _Concatenate.apply(*dense), None, None


def _layout(maps: Tensor) -> torch.memory_format:
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
