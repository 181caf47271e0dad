"""From a predicted tensor to a parameter: windows of kernels, repetition of channels, normalization."""

import torch
import torch.nn.functional as F
from torch import Tensor


def window(kernel: int, size: int, place: str) -> slice:
    """Which part of a predicted tensor of height or width `size` a kernel reads; all of it if the kernel is larger."""
    if kernel >= size:
        return slice(0, size)
    start = 0 if place == "corner" else size // 2 - kernel // 2
    return slice(start, start + kernel)


def resize(w: Tensor, kernel: tuple[int, int], place: str) -> Tensor:
    """Kernels larger than the predicted ones: repeated (GHN-2) or interpolated (GHN-3).

    Shapes:
        (n, o, i, h, w) -> (n, o, i, *kernel)
    """
    if w.shape[-2:] == kernel:
        return w
    if place == "corner":
        return _tile(_tile(w, -2, kernel[0]), -1, kernel[1])
    return F.interpolate(w.flatten(0, 1), kernel, mode="bilinear").view(*w.shape[:-2], *kernel)


def tile(w: Tensor, channels: tuple[int, int]) -> Tensor:
    """Repeats output, then input channels of predicted tensors.

    Shapes:
        (n, o', i', h, w) -> (n, *channels, h, w)
    """
    return _tile(_tile(w, 1, channels[0]), 2, channels[1])


def as_parameter(value: Tensor, parameter: Tensor) -> Tensor | None:
    """A predicted tensor with the shape of its parameter, None if it has no such shape.

    Tables of positional encodings (T, C) or (1, T, C) end with the predicted map (1, C, s, s); what comes first, the
    encoding of a class token, keeps its value.

    Shapes:
        (out, in, h, w) -> that of the parameter
    """
    if value.numel() == parameter.numel() and not _is_table(value, parameter):
        return value.reshape(parameter.shape)
    if not _is_table(value, parameter):
        return None
    table = value.flatten(2).transpose(1, 2).view(-1, value.shape[1])  # (s s, C)
    first = parameter.detach().view(-1, value.shape[1])[: -len(table)]
    if len(first):
        table = torch.cat([torch.zeros_like(first, device=value.device) if first.is_meta else first.to(value), table])
    return table.view(parameter.shape)


def _is_table(value: Tensor, parameter: Tensor) -> bool:
    channels, positions = value.shape[1], value.shape[2] * value.shape[3]
    is_map = value.shape[0] == 1 and parameter.dim() in (2, 3) and parameter.shape[-1] == channels
    return is_map and parameter.numel() >= positions * channels and positions > 1


def write(parameter: Tensor, w: Tensor, shape: tuple[int, int, int, int]) -> bool:
    """Writes a predicted tensor into a parameter, its channels repeated on the way.

    Args:
        parameter: of this shape, or one that `as_parameter` makes of it.
        w: (o, i, height, width)

    Returns:
        Whether the parameter has such a shape.
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
    have = w.shape[dim]
    if have == size:
        return w
    times = [1] * w.dim()
    times[dim] = -(-size // have)
    return w.repeat(times).narrow(dim, 0, size)


def weight_scale(shape: tuple[int, int, int, int], normalize: str) -> float:
    """What a weight (out, in, height, width) is multiplied with (DeepNets paper, Table 2).

    sqrt(beta / fan), where beta is 1 for weights that no ReLU follows: depthwise ones and the wide half of 7x1 and 1x7
    convolutions; 2 for others.
    """
    if normalize == "none":
        return 1.0
    out, in_, height, width = shape
    beta = 1.0 if in_ == 1 or height < width else 2.0
    fan = in_ if normalize == "fan_in" else out
    return (beta / (fan * height * width)) ** 0.5


def norm_weight_range(w: Tensor) -> Tensor:
    """Weights of norm layers are between 0 and 2."""
    return 2 * torch.sigmoid(0.5 * w)


def bias_range(w: Tensor) -> Tensor:
    """Biases are between -1 and 1."""
    return torch.tanh(0.2 * w)
