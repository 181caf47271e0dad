"""2-D convolutions whose derivatives of any order are convolutions.

PyTorch differentiates the gradients of a convolution with others whose kernels are as large as its images, and group by
group; so a depthwise one takes hundreds of small ones. But y = C(x, w) is linear in both, and so are its
gradients X(g, w) and W(x, g): all have the same trilinear form <C(x, w), g> = <x, X(g, w)> = <w, W(x, g)>, and the
derivatives of each are the two others.

First gradients of some depthwise convolutions are faster, too: on CPUs PyTorch has quick code for them only if kernels
have no dilation and up to 3 columns.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from deepnets.networks.kernels.autograd_state import recorded, transformed


class _Geometry(NamedTuple):
    """What a convolution does besides its weights."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def flipped(self, w: Tensor) -> "_Geometry | None":
        """Of the depthwise convolution with flipped kernels that X is, if it is one; it is several times faster."""
        padding = tuple(d * (k - 1) - p for d, k, p in zip(self.dilation, w.shape[2:], self.padding, strict=True))
        if self.stride == (1, 1) and self.groups == len(w) and w.shape[1] == 1 and min(padding) >= 0:
            return self._replace(padding=padding)  # type: ignore[arg-type]
        return None

    def keeps_size(self, w: tuple[int, ...]) -> bool:
        """Whether it is depthwise and returns maps as large as its inputs."""
        kernel = w[2:]
        same = all(p == d * (k // 2) for p, d, k in zip(self.padding, self.dilation, kernel, strict=True))
        return self.groups == w[0] and w[1] == 1 and self.stride == (1, 1) and same and all(k % 2 for k in kernel)


def _native(g: Tensor, x: Tensor, w: Tensor, geometry: _Geometry, wanted: tuple[bool, bool, bool]) -> Any:
    stride, padding, dilation, groups = geometry
    options = ([w.shape[0]], stride, padding, dilation, False, (0, 0), groups, wanted)
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
        if transformed(g):
            return (*_native(g, x, w, ctx.geometry, (of_x, of_w, of_b)), None)
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
        gradient: Tensor = _native(g, x, w, geometry, (True, False, False))[0]
        return gradient

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
        return _weight_gradient(x, g, shape, geometry)

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


class _EvenPixels(Function):
    """Those of even rows and columns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return _channels_last(x[:, :, ::2, ::2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if transformed(gradient):
            B, C, H, W = gradient.shape
            pairs = F.pad(gradient.reshape(B, C, H, 1, W, 1), (0, 1, 0, 0, 0, 1))  # (B, C, H, 2, W, 2)
            whole = pairs.reshape(B, C, 2 * H, 2 * W)
            return whole if whole.shape == ctx.shape else whole[:, :, : ctx.shape[2], : ctx.shape[3]]
        spread: Tensor = _BetweenZeros.apply(gradient, ctx.shape)
        return spread


class _BetweenZeros(Function):
    """Maps whose even pixels are given; the derivative of the other, whose own derivative is the other again."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
        x = torch.empty(shape, dtype=pixels.dtype, device=pixels.device, memory_format=torch.channels_last).zero_()
        x[:, :, ::2, ::2] = pixels
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _EvenPixels.apply(gradient), None


def _weight_gradient(x: Tensor, g: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
    """W(x, g), by depthwise convolutions that are quick on CPUs if there are such."""
    channels, _, *kernel = shape
    even = [side % 2 == 0 for side in x.shape[2:]]
    if x.device.type == "cpu" and geometry.keeps_size(shape):
        if geometry.dilation == (2, 2) and all(even):  # no pixel reads one of another phase
            dense = geometry._replace(padding=(kernel[0] // 2, kernel[1] // 2), dilation=(1, 1))
            return _weight_gradient(_phases(x, 2, 2), _phases(g, 2, 2), shape, dense)
        if geometry.dilation == (1, 1) and kernel[1] == 5 and even[1]:  # pixels read those of their phase by three
            part, three = (channels, 1, kernel[0], 3), geometry._replace(padding=(kernel[0] // 2, 1))
            middle = _weight_gradient(x, g, part, three)
            outer = _weight_gradient(_phases(x, 1, 2), _phases(g, 1, 2), part, three)
            first, centre, last = outer.unbind(3)
            return torch.stack((first, middle[..., 0], centre, middle[..., 2], last), dim=3)
    gradient: Tensor = _native(g, x, x.new_empty(shape), geometry, (False, True, False))[1]
    return gradient


def _phases(maps: Tensor, vertical: int, horizontal: int) -> Tensor:
    """Every second row or column, or all of them, as maps of their own.

    Args:
        maps: (B, C, H, W).
        vertical, horizontal: numbers of phases.

    Returns:
        (vertical * horizontal * B, C, H / vertical, W / horizontal).
    """
    B, C, H, W = maps.shape
    pixels = maps.permute(0, 2, 3, 1).reshape(B, H // vertical, vertical, W // horizontal, horizontal, C)
    return pixels.permute(2, 4, 0, 1, 3, 5).reshape(-1, H // vertical, W // horizontal, C).permute(0, 3, 1, 2)


def _forward(x: Tensor, w: Tensor, b: Tensor | None, geometry: _Geometry) -> Tensor:
    y: Tensor = _Forward.apply(_channels_last(x), w, b, geometry)
    return y


def _of_input(g: Tensor, w: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
    gradient: Tensor = _OfInput.apply(_channels_last(g), w, shape, geometry)
    return gradient


def _of_weight(x: Tensor, g: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
    gradient: Tensor = _OfWeight.apply(_channels_last(x), _channels_last(g), shape, geometry)
    return gradient


def _channels_last(maps: Tensor) -> Tensor:
    """Derivatives of some other layers are not, and mixed layouts make everything slow.

    Not within a function: what it keeps for its derivatives has to be what it was given.
    """
    return maps.contiguous(memory_format=torch.channels_last)


def convolve(layer: nn.Conv2d, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """What a layer returns.

    Args:
        layer: zeros are its padding, the same on opposite sides, see `is_plain`.
        x: (B, in, H, W).
        weight: in place of the layer's own.
    """
    weight = layer.weight if weight is None else weight
    padding = layer.padding
    assert not isinstance(padding, str)
    geometry = _Geometry(layer.stride, padding, layer.dilation, layer.groups)  # type: ignore[arg-type]
    if geometry.stride == geometry.dilation == (2, 2) and all(p % 2 == 0 for p in padding):
        # Every second pixel is read for every second one; all derivatives are quicker if there are no others.
        geometry = geometry._replace(stride=(1, 1), padding=(padding[0] // 2, padding[1] // 2), dilation=(1, 1))
        x = _EvenPixels.apply(x)
    return _forward(x, weight, layer.bias, geometry)


def is_plain(layer: nn.Conv2d) -> bool:
    """Whether `convolve` can be used."""
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with quicker gradients on CPUs, where maps have their channels last.

    `convolve` makes a difference to those that are dilated, and to wider ones than PyTorch has quick code for. In
    bfloat16, gradients of strided ones and of small maps take up to a hundred times as long as in float32, so that is
    what all of them compute in.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._is_own(x):
            return super().forward(x)
        if x.dtype == torch.bfloat16:
            return self._convolved(x.float(), self.weight.float()).bfloat16()
        return self._convolved(x, self.weight)

    def _is_own(self, x: Tensor) -> bool:
        usual = recorded(x) and is_plain(self) and not torch.is_autocast_enabled("cpu")
        return usual and x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        slow = self.dilation != (1, 1) or (self.kernel_size[1] > 3 and self.stride == (1, 1))  # in PyTorch
        return convolve(self, x, weight) if slow else self._conv_forward(x, weight, self.bias)
