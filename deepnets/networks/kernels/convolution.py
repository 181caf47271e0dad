"""2-D convolutions whose derivatives of any order are convolutions.

PyTorch computes second derivatives of a convolution by other convolutions, group by group, whose kernels are as large
as the images; for a depthwise convolution these are hundreds of small ones. But y = C(x, w) is linear in x and in w,
and so are its gradients X(g, w) and W(x, g) in their arguments. All three have the same trilinear form
<C(x, w), g> = <x, X(g, w)> = <w, W(x, g)>, so the derivatives of each are the other two.

First gradients of some depthwise convolutions are faster, too: on CPUs PyTorch has fast code only for kernels without
dilation and with up to 3 columns.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from deepnets.networks.kernels.autograd_state import is_functorch_transformed, is_recording


class _Geometry(NamedTuple):
    """Stride, padding, dilation and groups of a convolution."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def flipped(self, w: Tensor) -> "_Geometry | None":
        """Return the geometry of the equivalent convolution with flipped kernels, or None if there is none.

        It computes X several times faster.
        """
        padding = tuple(d * (k - 1) - p for d, k, p in zip(self.dilation, w.shape[2:], self.padding, strict=True))
        if self.stride == (1, 1) and self.groups == len(w) and w.shape[1] == 1 and min(padding) >= 0:
            return self._replace(padding=padding)  # type: ignore[arg-type]
        return None

    def keeps_size(self, w: tuple[int, ...]) -> bool:
        """Tell whether the convolution is depthwise and its outputs are as large as its inputs.

        Args:
            w: shape of the weight.
        """
        kernel = w[2:]
        same = all(p == d * (k // 2) for p, d, k in zip(self.padding, self.dilation, kernel, strict=True))
        return self.groups == w[0] and w[1] == 1 and self.stride == (1, 1) and same and all(k % 2 for k in kernel)


def _native(g: Tensor, x: Tensor, w: Tensor, geometry: _Geometry, mask: tuple[bool, bool, bool]) -> Any:
    """Return PyTorch's gradients of input, weight and bias, where the mask is true."""
    stride, padding, dilation, groups = geometry
    options = ([w.shape[0]], stride, padding, dilation, False, (0, 0), groups, mask)
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
        if is_functorch_transformed(g):
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
        # The values are never read; only shape, dtype and layout matter.
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


class _StridedPixels(Function):
    """The pixels of every second row and column."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return _channels_last(x[:, :, ::2, ::2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if is_functorch_transformed(gradient):
            B, C, H, W = gradient.shape
            pairs = F.pad(gradient.reshape(B, C, H, 1, W, 1), (0, 1, 0, 0, 0, 1))  # (B, C, H, 2, W, 2)
            return F.pad(pairs.reshape(B, C, 2 * H, 2 * W), (0, ctx.shape[3] - 2 * W, 0, ctx.shape[2] - 2 * H))
        spread: Tensor = _BetweenZeros.apply(gradient, ctx.shape)
        return spread


class _BetweenZeros(Function):
    """Maps with the given pixels in every second row and column and zeros elsewhere.

    It is the derivative of `_StridedPixels`, which is the derivative of this.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
        x = torch.empty(shape, dtype=pixels.dtype, device=pixels.device, memory_format=torch.channels_last).zero_()
        x[:, :, ::2, ::2] = pixels
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _StridedPixels.apply(gradient), None


def _weight_gradient(x: Tensor, g: Tensor, shape: tuple[int, ...], geometry: _Geometry) -> Tensor:
    """Return W(x, g); on CPUs, through equal depthwise convolutions that PyTorch has fast code for, where possible."""
    channels, _, *kernel = shape
    rounded = x.dtype == torch.bfloat16  # in float32 filling up gains little
    even = [rounded or side % 2 == 0 for side in x.shape[2:]]
    if x.device.type == "cpu" and geometry.keeps_size(shape):
        if geometry.dilation == (2, 2) and all(even):  # even pixels read only even ones, odd ones only odd ones
            dense = geometry._replace(padding=(kernel[0] // 2, kernel[1] // 2), dilation=(1, 1))
            x, g = (_phases(_filled_up(maps, 2, 2), 2, 2) for maps in (x, g))
            return _weight_gradient(x, g, shape, dense)
        # Columns 0, 2 and 4 of a kernel read even pixels for even ones, and odd pixels for odd ones.
        if geometry.dilation == (1, 1) and kernel[1] == 5 and even[1]:
            x, g = (_filled_up(maps, 1, 2) for maps in (x, g))
            part, three = (channels, 1, kernel[0], 3), geometry._replace(padding=(kernel[0] // 2, 1))
            middle = _weight_gradient(x, g, part, three)
            outer = _weight_gradient(_phases(x, 1, 2), _phases(g, 1, 2), part, three)
            first, center, last = outer.unbind(3)
            return torch.stack((first, middle[..., 0], center, middle[..., 2], last), dim=3)
        if rounded and x.shape[2] < kernel[0]:  # no fast code
            x, g = (_filled_up(maps, kernel[0], 1) for maps in (x, g))
    gradient: Tensor = _native(g, x, x.new_empty(shape), geometry, (False, True, False))[1]
    return gradient


def _filled_up(maps: Tensor, vertical: int, horizontal: int) -> Tensor:
    """Append rows and columns of zeros, up to a multiple; weight gradients stay the same: padding is zero, too."""
    rows, columns = -maps.shape[2] % vertical, -maps.shape[3] % horizontal
    return F.pad(maps, (0, columns, 0, rows)) if rows or columns else maps


def _phases(maps: Tensor, vertical: int, horizontal: int) -> Tensor:
    """Split maps into their even and odd rows, columns or both, as further maps of the batch.

    Args:
        maps: (B, C, H, W).
        vertical, horizontal: 2 to split the rows or the columns, 1 to keep them together.

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
    """Convert to channels-last: some layers return contiguous gradients, and mixed layouts slow down what follows.

    Called outside of the autograd functions, which have to save the very tensors that they were called with.
    """
    return maps.contiguous(memory_format=torch.channels_last)


def convolve(layer: nn.Conv2d, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the output of a convolution; its derivatives of any order are convolutions.

    Args:
        layer: a layer that `is_plain`.
        x: (B, in, H, W).
        weight: replaces that of the layer.

    Returns:
        (B, out, H', W').
    """
    weight = layer.weight if weight is None else weight
    padding = layer.padding
    assert not isinstance(padding, str)
    geometry = _Geometry(layer.stride, padding, layer.dilation, layer.groups)  # type: ignore[arg-type]
    if geometry.stride == geometry.dilation == (2, 2) and all(p % 2 == 0 for p in padding):
        # With stride 2 and dilation 2 only even pixels are read: subsample first, so that backward skips the others.
        geometry = geometry._replace(stride=(1, 1), padding=(padding[0] // 2, padding[1] // 2), dilation=(1, 1))
        x = _StridedPixels.apply(x)
    if x.dtype == torch.bfloat16 and geometry.keeps_size(tuple(weight.shape)):
        geometry, weight = _within_maps(geometry, weight, x.shape[2:])
    return _forward(x, weight, layer.bias, geometry)


def _within_maps(geometry: _Geometry, weight: Tensor, sides: Sequence[int]) -> tuple[_Geometry, Tensor]:
    """Leave out rows and columns of kernels that read nothing but padding; on tiny maps there is no fast code for them.

    Args:
        geometry: of a convolution that keeps the size.
        weight: (channels, 1, height, width).
        sides: height and width of the maps.
    """
    numbers = zip(weight.shape[2:], sides, geometry.dilation, strict=True)
    reach = [min(kernel // 2, (side - 1) // dilation) for kernel, side, dilation in numbers]
    for dim, r in enumerate(reach, start=2):
        middle = weight.shape[dim] // 2
        if r < middle:
            weight = weight.narrow(dim, middle - r, 2 * r + 1)
    padding = (geometry.dilation[0] * reach[0], geometry.dilation[1] * reach[1])
    return geometry._replace(padding=padding), weight


def is_plain(layer: nn.Conv2d) -> bool:
    """Tell whether `convolve` supports a layer: it pads with zeros, the same number on opposite sides."""
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with faster gradients of channels-last maps on CPUs.

    `convolve` is used where PyTorch has no fast code: for dilated kernels and for those with more than 3 columns. In
    bfloat16 there is less of it: gradients of strided convolutions take up to a hundred times as long as in float32, so
    these run in float32, and those of maps with fewer rows than the kernel fifty times, so `convolve` adds rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._is_own(x):
            return super().forward(x)
        if x.dtype == torch.bfloat16 and self.stride not in ((1, 1), self.dilation):
            return self._convolved(x.float(), self.weight.float()).bfloat16()
        return self._convolved(x, self.weight)

    def _is_own(self, x: Tensor) -> bool:
        """Tell whether PyTorch's gradients can be replaced, and are those of CPUs."""
        usual = is_recording(x) and is_plain(self) and not torch.is_autocast_enabled("cpu")
        return usual and x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        slow_in_pytorch = self.dilation != (1, 1) or (self.kernel_size[1] > 3 and self.stride == (1, 1))
        if slow_in_pytorch or x.dtype == torch.bfloat16:
            return convolve(self, x, weight)
        y: Tensor = self._conv_forward(x, weight, self.bias)
        return y


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution; in bfloat16 on CPUs a matrix product, which takes half the time for small maps."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a map (B, in, H, W)."""
        own = is_recording(x) and x.dtype == torch.bfloat16 and x.device.type == "cpu"
        if not own or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        halves = self.stride == (2, 2)
        if not halves and not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        if halves:
            x = _StridedPixels.apply(x)
        pixels = x.permute(0, 2, 3, 1)  # (B, H, W, in)
        return F.linear(pixels, self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


CONVOLUTIONS = (nn.Conv2d, DepthwiseConv2d, PointwiseConv2d)
"""Layers whose forward pass is that of `nn.Conv2d`, however they compute it."""
