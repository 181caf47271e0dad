"""Channel folding: faster evaluation of networks whose channels repeat, by computing equal channels once.

A GHN predicts weights for a limited number of channels and repeats them in wider layers (DeepNets paper, section 3.2).
Feature maps then repeat too: a network of 512 channels may compute only 64 different ones. This holds through
convolutions, batch norm, pooling, sums, concatenations and transformer blocks, where attention heads can be equal.
Here a feature map is stored as its distinct channels and an index, and a convolution sums the weights of equal inputs.
Results differ from those of the network itself by the order of summation only. Networks whose weights do not repeat run
as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepnets.networks.kernels.convolution import CONVOLUTIONS
from deepnets.networks.layers import ATTENTION_HEADS, MultiHeadSelfAttention

_PERIODS = (32, 64, 128, 256, 384)  # channels that the decoders of the published variants have
_CHANNELWISE = ("relu", "gelu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")


@contextmanager
def repeated_channels_once(network: nn.Module) -> Iterator[nn.Module]:
    """Fold the channels of a DeepNets-1M network inside the `with` block, and yield the same network.

    Its parameters must not change inside the block.
    """
    layers: list[_Convolution | _Linear | _Attention] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and type(module) in CONVOLUTIONS and module.padding_mode == "zeros":
            layers.append(_Convolution(module))
        elif type(module) is nn.Linear:
            layers.append(_Linear(module))
        elif type(module) is MultiHeadSelfAttention:
            layers.append(_Attention(module))
    used = layers if any(layer.repeats() for layer in layers) else []
    for layer in used:
        layer.module.forward = layer
    try:
        yield network
    finally:
        for layer in used:
            del layer.module.forward


class RepeatedChannels:
    """Feature maps with repeated channels; behaves like the tensor (B, C, H, W) of all channels.

    Args:
        distinct: (B, D, H, W) the D distinct channels.
        index: (C,) for each channel, the distinct channel that it equals.
    """

    def __init__(self, distinct: Tensor, index: Tensor) -> None:
        self.distinct, self.index = distinct, index

    def full(self) -> Tensor:
        """Return the tensor of all channels (B, C, H, W)."""
        last, index = self.distinct.permute(0, 2, 3, 1), self.index  # (B, H, W, D)
        if torch.equal(index, torch.arange(len(index), device=index.device) % last.shape[-1]):
            return _repeat(last, len(index)).permute(0, 3, 1, 2)
        return last.index_select(3, index).permute(0, 3, 1, 2)

    def like(self, distinct: Tensor) -> "RepeatedChannels":
        """Return new feature maps (B, D, H', W') whose channels repeat in the same way."""
        return RepeatedChannels(distinct, self.index)

    def pick(self, values: Tensor) -> Tensor | None:
        """Return one value of each set of equal channels; None if equal channels have different values.

        Shapes:
            (C,) -> (D,)
        """
        picked = values[self.first]
        return picked if torch.equal(picked[self.index], values) else None

    def fold_weight(self, weight: Tensor) -> Tensor:
        """Return the weight of a layer that reads the distinct channels: sums over equal input channels.

        Shapes:
            (O, C, ...) -> (O, D, ...)
        """
        sums = weight.new_zeros(len(weight), self.distinct.shape[1], *weight.shape[2:])
        return sums.index_add_(1, self.index, weight)

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor of all channels."""
        batch, _, *size = self.distinct.shape
        return torch.Size((batch, len(self.index), *size))

    def dim(self) -> int:
        """Return the number of dimensions."""
        return 4

    def mean(self, dim: tuple[int, int]) -> Tensor:
        """Return the mean (B, C) over height and width."""
        assert dim == (2, 3)
        return self.distinct.mean(dim)[:, self.index]

    def __getitem__(self, slices: tuple[slice, ...]) -> "RepeatedChannels":
        assert slices[:2] == (slice(None), slice(None))
        return self.like(self.distinct[slices])

    def __add__(self, other: "RepeatedChannels | Tensor") -> "RepeatedChannels | Tensor":
        if isinstance(other, RepeatedChannels) and torch.equal(self.index, other.index):
            return self.like(self.distinct + other.distinct)
        total: Tensor = self.full() + _whole(other)
        return total

    def __radd__(self, other: Tensor | int) -> "RepeatedChannels | Tensor":
        return self if isinstance(other, int) and other == 0 else other + self.full()

    def __mul__(self, gate: Tensor) -> "RepeatedChannels | Tensor":
        """Multiply with a gate (B, C, 1, 1): a number for each image and channel."""
        picked = gate[:, self.first]  # (B, D, 1, 1)
        return self.like(self.distinct * picked) if torch.equal(picked[:, self.index], gate) else self.full() * gate

    @property
    def first(self) -> Tensor:
        """(D,) for each distinct channel, the place of one channel (0 to C - 1) that equals it."""
        channels = torch.arange(len(self.index), device=self.index.device)
        return torch.empty_like(self.index[: self.distinct.shape[1]]).index_copy_(0, self.index, channels)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.full(), name)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: object, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        if name in _CHANNELWISE:
            return args[0].like(func(args[0].distinct, *args[1:], **kwargs))
        if name == "batch_norm":
            return _batch_norm(*args, **kwargs)
        if name == "cat" and kwargs.get("dim", args[1] if len(args) > 1 else 0) == 1:
            return _cat(args[0])
        return func(*_whole(args), **_whole(kwargs))


def _whole(value: Any) -> Any:
    """Return a value, or a structure of values, with tensors of all channels in place of `RepeatedChannels`."""
    if isinstance(value, RepeatedChannels):
        return value.full()
    if isinstance(value, list | tuple):
        return type(value)(map(_whole, value))
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def _batch_norm(
    x: RepeatedChannels,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    *rest: Any,
    **options: Any,
) -> Any:
    gamma, beta = x.pick(weight), x.pick(bias)
    if mean is not None or var is not None or gamma is None or beta is None:
        return F.batch_norm(x.full(), mean, var, weight, bias, *rest, **options)
    return x.like(F.batch_norm(x.distinct, None, None, gamma, beta, *rest, **options))


def _channels(x: RepeatedChannels | Tensor) -> RepeatedChannels:
    return x if isinstance(x, RepeatedChannels) else RepeatedChannels(x, _range(x))


def _cat(parts: Sequence[RepeatedChannels | Tensor]) -> RepeatedChannels:
    maps = [_channels(part) for part in parts]
    sizes = [part.distinct.shape[1] for part in maps]
    index = torch.cat([part.index + sum(sizes[:i]) for i, part in enumerate(maps)])
    return RepeatedChannels(torch.cat([part.distinct for part in maps], 1), index)


def _range(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], device=x.device)


class _Convolution:
    """Forward pass of a convolution for inputs and weights with equal channels."""

    def __init__(self, module: nn.Conv2d) -> None:
        self.module: Any = module
        self.outputs, self.inputs = _distinct(module.weight)

    def repeats(self) -> bool:
        """Return whether some channels of the weight are equal."""
        return (self.outputs, self.inputs) != tuple(self.module.weight.shape[:2])

    def __call__(self, x: "RepeatedChannels | Tensor") -> "RepeatedChannels | Tensor":
        module, outputs, inputs = self.module, self.outputs, self.inputs
        options = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
        if module.groups > 1:
            return self._depthwise(x, options)
        weight = module.weight[:outputs]
        if isinstance(x, RepeatedChannels):  # equal inputs get the sum of their weights
            maps = x.distinct
            weight = x.fold_weight(weight)
        else:
            maps, weight = _folded(x, inputs), weight[:, :inputs]
        y = F.conv2d(maps, weight.contiguous(memory_format=torch.channels_last), None, **options)
        return self._repeated(y)

    def _depthwise(self, x: "RepeatedChannels | Tensor", options: dict[str, Any]) -> "RepeatedChannels | Tensor":
        module = self.module
        if isinstance(x, RepeatedChannels) and module.groups == len(module.weight) == len(x.index):
            weight = module.weight[x.first]
            if module.bias is None and torch.equal(weight[x.index], module.weight):
                return x.like(F.conv2d(x.distinct, weight, None, **options, groups=len(weight)))
        return F.conv2d(_whole(x), module.weight, module.bias, **options, groups=module.groups)

    def _repeated(self, y: Tensor) -> "RepeatedChannels | Tensor":
        """Return all output channels with bias; `y` has the first ones, without bias."""
        channels, bias = self.module.out_channels, self.module.bias
        if y.shape[1] == channels:
            return y if bias is None else y + bias[:, None, None]
        result = RepeatedChannels(y, torch.arange(channels, device=y.device) % y.shape[1])
        if bias is None:
            return result
        picked = result.pick(bias)
        return result.full() + bias[:, None, None] if picked is None else result.like(y + picked[:, None, None])


class _Linear:
    """Forward pass of a linear layer for weights with equal channels."""

    def __init__(self, module: nn.Linear) -> None:
        self.module: Any = module
        self.outputs, self.inputs = _distinct(module.weight)
        if module.bias is not None and _period(module.bias, 0) > self.outputs:
            self.outputs = module.out_features

    def repeats(self) -> bool:
        """Return whether some channels of the weight are equal."""
        return (self.outputs, self.inputs) != tuple(self.module.weight.shape)

    def __call__(self, x: RepeatedChannels | Tensor) -> RepeatedChannels | Tensor:
        if isinstance(x, RepeatedChannels):
            return self._pointwise(x)
        # For many tokens, much less has to be multiplied to be worth sums and copies (measured on a CPU core).
        if x.dim() > 2 and 8 * self.outputs * self.inputs > self.module.weight.numel():
            return F.linear(x, self.module.weight, self.module.bias)
        weight, bias = self.module.weight[: self.outputs, : self.inputs], self.module.bias
        y = F.linear(_folded(x, self.inputs, -1), weight, None if bias is None else bias[: self.outputs])
        return _repeat(y, self.module.out_features)

    def _pointwise(self, x: RepeatedChannels) -> RepeatedChannels:
        """Apply the layer to each pixel."""
        bias = self.module.bias
        y = _to_pixels(x, self.module.weight[: self.outputs], None if bias is None else bias[: self.outputs])
        return RepeatedChannels(y, torch.arange(self.module.out_features, device=y.device) % self.outputs)


class _Attention:
    """Forward pass of a transformer block for inputs with equal channels: equal heads are computed once."""

    def __init__(self, module: MultiHeadSelfAttention) -> None:
        self.module: Any = module
        weight = module.to_qkv.weight  # (3C, C)
        rows = torch.arange(len(weight), device=weight.device) % _period(weight, 0)
        heads = rows.view(3, ATTENTION_HEADS, -1).transpose(0, 1)  # (h, 3, C / h) which distinct outputs each one has
        distinct, of = torch.unique(heads, dim=0, return_inverse=True)  # (u, 3, d), (h,), d = C / h
        parts = distinct.transpose(0, 1)  # (3, u, d) queries, keys and values, which are often the same
        self.rows = parts[:1] if torch.equal(parts, parts[:1].expand_as(parts)) else parts  # (1 or 3, u, d)
        inside = torch.arange(parts.shape[2], device=weight.device)  # (d,)
        self.index = (of[:, None] * len(inside) + inside).flatten()  # (C,)

    def repeats(self) -> bool:
        """Return False: the linear layers of the block tell whether there are equal channels."""
        return False

    def __call__(self, x: "RepeatedChannels | Tensor") -> "RepeatedChannels | Tensor":
        module, x = self.module, _channels(x)
        x = _channels(x + module.to_out(self._attend(_layer_norm(x, module.ln1))))
        y: RepeatedChannels | Tensor = x + module.ff(_layer_norm(x, module.ln2))
        return y

    def _attend(self, x: RepeatedChannels) -> RepeatedChannels:
        width = self.rows.shape[2]
        weight = F.pad(self.module.to_qkv.weight[self.rows], (0, 0, 0, -width % 4))  # (1 or 3, u, d', C)
        qkv = _to_pixels(x, weight.flatten(0, 2)).flatten(2).transpose(1, 2)  # (B, T, 3 u d')
        parts = torch.unflatten(qkv, 2, weight.shape[:3]).permute(2, 0, 3, 1, 4)  # (1 or 3, B, u, T, d')
        query, key, value = parts.expand(3, -1, -1, -1, -1)
        attended = F.scaled_dot_product_attention(query, key, value, scale=width**-0.5)  # (B, u, T, d')
        maps = torch.unflatten(attended[..., :width].transpose(2, 3).flatten(1, 2), 2, x.shape[2:])  # (B, u d, H, W)
        return RepeatedChannels(maps.contiguous(memory_format=torch.channels_last), self.index)


def _to_pixels(x: RepeatedChannels, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear layer to each pixel; as a convolution, which took less than half of the time on an AMD CPU."""
    weight = x.fold_weight(weight)[..., None, None].contiguous(memory_format=torch.channels_last)  # (O, D, 1, 1)
    return F.conv2d(x.distinct.contiguous(memory_format=torch.channels_last), weight, bias)


def _layer_norm(x: RepeatedChannels, norm: nn.LayerNorm) -> RepeatedChannels:
    gamma, beta = x.pick(norm.weight), x.pick(norm.bias)
    if gamma is None or beta is None:
        return _layer_norm(RepeatedChannels(x.full(), torch.arange(len(x.index), device=x.index.device)), norm)
    maps = x.distinct.permute(0, 2, 3, 1)  # (B, H, W, D)
    share = torch.bincount(x.index, minlength=maps.shape[-1]).to(maps) / len(x.index)  # (D,)
    centered = maps - (maps @ share)[..., None]
    scale = (centered.square() @ share + norm.eps).rsqrt()  # (B, H, W)
    return x.like((centered * scale[..., None] * gamma + beta).permute(0, 3, 1, 2))


def _repeat(y: Tensor, channels: int) -> Tensor:
    """Repeat (..., D) to (..., channels)."""
    times = -(-channels // y.shape[-1])
    return y if times == 1 else y.repeat(*[1] * (y.dim() - 1), times)[..., :channels]


def _distinct(weight: Tensor) -> tuple[int, int]:
    """Return the number of distinct output and input channels of a weight (out, in, ...); the others repeat them."""
    return _period(weight, 0), _period(weight, 1)


def _period(weight: Tensor, dim: int) -> int:
    channels = weight.shape[dim]
    for period in _PERIODS:
        rest = channels - period
        if rest > 0 and torch.equal(weight.narrow(dim, period, rest), weight.narrow(dim, 0, rest)):
            return period
    return channels


def _folded(x: Tensor, channels: int, dim: int = 1) -> Tensor:
    """Return the sums of the channels that are a multiple of `channels` apart."""
    if x.shape[dim] == channels:
        return x
    last = x.movedim(dim, -1)  # (..., C), contiguous for channels last
    whole = last.shape[-1] // channels * channels
    folded: Tensor = torch.unflatten(last[..., :whole], -1, (-1, channels)).sum(-2)
    if whole < x.shape[dim]:
        folded[..., : x.shape[dim] - whole] += last[..., whole:]
    return folded.movedim(-1, dim)
