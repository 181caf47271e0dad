"""Parameter fitting: crop, repeat and scale predicted tensors to the shapes of parameters."""

import torch
import torch.nn.functional as F
from torch import Tensor


def window(kernel: int, size: int, place: str) -> slice:
    """Return the slice of the rows (or columns) of a predicted tensor that becomes a kernel.

    Args:
        kernel: rows of the kernel; if it has more than the tensor, all rows are taken.
        size: rows of the predicted tensor.
        place: "corner" takes the first rows (GHN-2), "centre" those in the middle (GHN-3).

    >>> window(3, 11, "centre")
    slice(4, 7, None)
    """
    if kernel >= size:
        return slice(0, size)
    start = 0 if place == "corner" else size // 2 - kernel // 2
    return slice(start, start + kernel)


def resize(w: Tensor, kernel: tuple[int, int], place: str) -> Tensor:
    """Enlarge kernels that are larger than predicted tensors: repeat them (GHN-2) or interpolate (GHN-3).

    Shapes:
        (n, o, i, h, w) -> (n, o, i, *kernel)
    """
    if w.shape[-2:] == kernel:
        return w
    if place == "corner":
        return _tile(_tile(w, -2, kernel[0]), -1, kernel[1])
    return F.interpolate(w.flatten(0, 1), kernel, mode="bilinear").view(*w.shape[:-2], *kernel)


def tile(w: Tensor, channels: tuple[int, int]) -> Tensor:
    """Repeat output, then input channels of predicted tensors.

    Shapes:
        (n, o', i', h, w) -> (n, *channels, h, w)
    """
    return _tile(_tile(w, 1, channels[0]), 2, channels[1])


def as_parameter(value: Tensor, parameter: Tensor) -> Tensor | None:
    """Return a predicted tensor in the shape of its parameter, None if the shapes do not fit.

    Tables of positional encodings (T, C) or (1, T, C) end with the predicted map (1, C, s, s); the rows before it, such
    as the encoding of a class token, keep their values. Kernels in 3-D repeat one in 2-D, as in Carreira and Zisserman,
    2017, but divided by the root of their depth, so that weights have the variance that suits their fan.

    Shapes:
        (out, in, h, w) -> that of the parameter
    """
    if parameter.dim() == 5 and parameter.shape[3:] == value.shape[2:]:
        plane, depth = as_parameter(value, parameter[:, :, 0]), parameter.shape[2]
        return None if plane is None else (plane[:, :, None] / depth**0.5).expand(parameter.shape)
    if (transposed := _as_transposed(value, parameter)) is not None:
        return transposed
    if value.numel() == parameter.numel() and not _is_table(value, parameter):
        return value.reshape(parameter.shape)
    if not _is_table(value, parameter):
        return None
    table = value.flatten(2).transpose(1, 2).view(-1, value.shape[1])  # (s s, C)
    first = parameter.detach().view(-1, value.shape[1])[: -len(table)]
    if len(first):
        table = torch.cat([torch.zeros_like(first, device=value.device) if first.is_meta else first.to(value), table])
    return table.view(parameter.shape)


def _as_transposed(value: Tensor, parameter: Tensor) -> Tensor | None:
    """Return a weight (out, in / groups, h, w) as (in, out / groups, h, w) if that is a transposed convolution's."""
    if (
        parameter.dim() < 3
        or parameter.shape[:2] == value.shape[:2]
        or parameter.shape[2:] != value.shape[2 : parameter.dim()]
    ):
        return None
    (out, in_group), (in_, out_group) = value.shape[:2], parameter.shape[:2]
    groups = out // out_group
    if (groups * out_group, groups * in_group) != (out, in_):
        return None
    return value.view(groups, out_group, in_group, -1).transpose(1, 2).reshape(parameter.shape)


def _is_table(value: Tensor, parameter: Tensor) -> bool:
    channels, positions = value.shape[1], value.shape[2] * value.shape[3]
    is_map = value.shape[0] == 1 and parameter.dim() in (2, 3) and parameter.shape[-1] == channels
    return is_map and parameter.numel() >= positions * channels and positions > 1


def write(parameter: Tensor, w: Tensor, shape: tuple[int, int, int, int]) -> bool:
    """Write a predicted tensor into a parameter, with its channels repeated.

    Args:
        parameter: the parameter to overwrite.
        w: (o, i, height, width) predicted tensor.
        shape: (out, in, height, width) of the parameter; `as_parameter` says which other shapes fit.

    Returns:
        Whether the shapes fit; else nothing is written.
    """
    (out, in_, height, width), (o, i) = shape, w.shape[:2]
    if parameter.is_contiguous() and parameter.shape == shape[: parameter.dim()] and out % o == 0 and in_ % i == 0:
        parameter.view(out // o, o, in_ // i, i, height, width).copy_(w[:, None])
        return True
    value = as_parameter(tile(w[None], (out, in_))[0], parameter)
    if value is not None:
        parameter.copy_(value)
    return value is not None


def _tile(w: Tensor, dim: int, size: int) -> Tensor:
    old_size = w.shape[dim]
    if old_size == size:
        return w
    times = [1] * w.dim()
    times[dim] = -(-size // old_size)
    return w.repeat(times).narrow(dim, 0, size)


def weight_scale(shape: tuple[int, int, int, int], normalize: str) -> float:
    """Return the scale of a predicted weight (out, in, height, width): sqrt(beta / fan) (DeepNets paper, Table 2).

    beta is 1 for weights that no ReLU follows (depthwise convolutions, and the wide one of a pair of 7x1 and 1x7
    convolutions), 2 for others.
    """
    if normalize == "none":
        return 1.0
    out, in_, height, width = shape
    beta = 1.0 if in_ == 1 or height < width else 2.0
    fan = in_ if normalize == "fan_in" else out
    return float((beta / (fan * height * width)) ** 0.5)


def norm_weight_range(w: Tensor) -> Tensor:
    """Map predicted weights of norm layers to the range from 0 to 2: 2 sigmoid(w / 2)."""
    return 2 * torch.sigmoid(0.5 * w)


def bias_range(w: Tensor) -> Tensor:
    """Map predicted biases to the range from -1 to 1: tanh(w / 5)."""
    return torch.tanh(0.2 * w)
