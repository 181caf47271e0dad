"""2-D convolutions whose derivatives of any order are convolutions.

PyTorch differentiates the gradients of a convolution with others whose kernels are as large as its images, and group by
group; so a depthwise one takes hundreds of small ones. But y = C(x, w) is linear in both, and so are its
gradients X(g, w) and W(x, g): all have the same trilinear form <C(x, w), g> = <x, X(g, w)> = <w, W(x, g)>, and the
derivatives of each are the two others.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


class _Geometry(NamedTuple):
    """What a convolution does besides its weights."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def flipped(self, w: Tensor) -> "_Geometry | None":
        """Of the depthwise convolution with flipped kernels that X is, if it is one; it is several times faster."""
        (height, width), (up, left), (rows, columns) = w.shape[2:], self.padding, self.dilation
        padding = (rows * (height - 1) - up, columns * (width - 1) - left)
        if self.stride == (1, 1) and self.groups == len(w) and w.shape[1] == 1 and min(padding) >= 0:
            return self._replace(padding=padding)
        return None


def _native(g: Tensor, x: Tensor, w: Tensor, geometry: _Geometry, wanted: tuple[bool, bool, bool]) -> Any:
    stride, padding, dilation, groups = geometry
    options = (None, stride, padding, dilation, False, (0, 0), groups, wanted)
    return torch.ops.aten.convolution_backward(g, x, w, *options)


class _Forward(Function):
    """C(x, w) + b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        return F.conv2d(x, w, b, *geometry)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        of_x, of_w, of_b, _ = ctx.needs_input_grad
        return (
            _of_input(g, w, x.shape, ctx.geometry) if of_x else None,
            _of_weight(x, g, w.shape, ctx.geometry) if of_w else None,
            g.sum((0, 2, 3)) if of_b else None,
            None,
        )


class _OfInput(Function):
    """X(g, w)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, w: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(g, w)
        ctx.geometry = geometry
        flipped = geometry.flipped(w)
        if flipped is not None:
            return F.conv2d(g, w.flip((2, 3)), None, *flipped)
        # Only its form counts.
        x = torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=torch.channels_last)
        return _native(g, x, w, geometry, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        of_g, of_w, *_ = ctx.needs_input_grad
        return (
            _forward(x, w, None, ctx.geometry) if of_g else None,
            _of_weight(x, g, w.shape, ctx.geometry) if of_w else None,
            None,
            None,
        )


class _OfWeight(Function):
    """W(x, g)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, g)
        ctx.geometry = geometry
        return _native(g, x, x.new_empty(shape), geometry, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        of_x, of_g, *_ = ctx.needs_input_grad
        return (
            _of_input(g, w, x.shape, ctx.geometry) if of_x else None,
            _forward(x, w, None, ctx.geometry) if of_g else None,
            None,
            None,
        )


def _forward(x: Tensor, w: Tensor, b: Tensor | None, geometry: _Geometry) -> Tensor:
    return _Forward.apply(_channels_last(x), w, b, geometry)


def _of_input(g: Tensor, w: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
    return _OfInput.apply(_channels_last(g), w, shape, geometry)


def _of_weight(x: Tensor, g: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
    return _OfWeight.apply(_channels_last(x), _channels_last(g), shape, geometry)


def _channels_last(maps: Tensor) -> Tensor:
    """Derivatives of some other layers are not, and mixed layouts make everything slow.

    Not within a function: what it keeps for its derivatives has to be what it was given.
    """
    return maps.contiguous(memory_format=torch.channels_last)


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a layer returns.

    Args:
        layer: zeros are its padding, the same on opposite sides, see `is_plain`.
        x: (B, in, H, W).
    """
    padding = layer.padding
    assert not isinstance(padding, str)
    geometry = _Geometry(layer.stride, padding, layer.dilation, layer.groups)  # type: ignore[arg-type]
    return _forward(x, layer.weight, layer.bias, geometry)


def is_plain(layer: nn.Conv2d) -> bool:
    """Whether `convolve` can be used."""
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
