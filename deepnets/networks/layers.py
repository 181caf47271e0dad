"""The layers of the design space as modules (DeepNets-1M paper, section A.1; DARTS for the operations on edges).

Every operation starts with its nonlinearity: ReLU, convolution, norm. The position of a layer in an `nn.Sequential`
is part of its parameters' names, which graphs and published checkpoints share, so an identity takes the place of a
missing norm. `deepnets.symbolic.block_specs` describes the same layers as graphs.

Widths are numbers of channels; all layers map (B, width, H, W) to (B, width, H', W').
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepnets.networks.kernels.attention import attend
from deepnets.networks.kernels.autograd_state import is_recording
from deepnets.networks.kernels.concatenation import concatenate
from deepnets.networks.kernels.convolution import DepthwiseConv2d, PointwiseConv2d
from deepnets.networks.meta_copies import build_layer
from deepnets.utils.errors import InputError

ATTENTION_HEADS = 8


def norm_layer(norm: str | None, width: int) -> nn.Module:
    """Return batch normalization, or an identity without a norm."""
    return nn.Identity() if norm is None else nn.BatchNorm2d(width)


def conv(
    width_in: int,
    width: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Conv2d:
    """Return a convolution without bias, padded so that only the stride changes the size of the map."""
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (rows - 1) // 2, dilation * (columns - 1) // 2)
    layer_cls: type[nn.Conv2d] = DepthwiseConv2d if groups == width_in == width else nn.Conv2d
    if kernel == 1:
        layer_cls = PointwiseConv2d
    return layer_cls(width_in, width, kernel, stride, padding, dilation, groups, bias=False)


class SharedReLU(nn.ReLU):
    """ReLU of a map that several operations read: in bfloat16 on CPUs it is computed once for all of them.

    The gradient is then masked once, too. Both are 12% of a training step otherwise.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (is_recording(x) and x.dtype == torch.bfloat16 and x.device.type == "cpu"):
            return super().forward(x)
        version, rectified = getattr(x, "_rectified", (-1, x))
        if version != x._version:
            rectified = super().forward(x)
            x._rectified = x._version, rectified  # type: ignore[attr-defined]
        y: Tensor = rectified
        return y


class _Chain(nn.Module):
    """Layers one after the other, named `op` as in DARTS."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.op(x)
        return y


class ReLUConvNorm(_Chain):
    """ReLU, k x k convolution, norm: an operation on an edge and, with k = 1, the preprocessing of a cell's input."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int = 1, norm: str | None = "bn") -> None:
        super().__init__(SharedReLU(), conv(width_in, width, kernel, stride), norm_layer(norm, width))


class Conv7x1_1x7(_Chain):
    """A 7x7 receptive field from a row and a column of weights (Inception; DARTS)."""

    def __init__(self, width_in: int, width: int, stride: int = 1, norm: str | None = "bn") -> None:
        super().__init__(
            SharedReLU(),
            conv(width_in, width, (1, 7), (1, stride)),
            conv(width, width, (7, 1), (stride, 1)),
            norm_layer(norm, width),
        )


class DilConv(_Chain):
    """Dilated separable convolution: depthwise with dilation 2, then pointwise."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int = 1, norm: str | None = "bn") -> None:
        super().__init__(
            SharedReLU(),
            conv(width_in, width_in, kernel, stride, dilation=2, groups=width_in),
            conv(width_in, width, 1),
            norm_layer(norm, width),
        )


class SepConv(_Chain):
    """Separable convolution, applied twice as in NASNet and DARTS; the first half takes the stride."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int = 1, norm: str | None = "bn") -> None:
        super().__init__(
            SharedReLU(),
            conv(width_in, width_in, kernel, stride, groups=width_in),
            conv(width_in, width_in, 1),
            norm_layer(norm, width_in),
            nn.ReLU(),
            conv(width_in, width_in, kernel, groups=width_in),
            conv(width_in, width, 1),
            norm_layer(norm, width),
        )


class FactorizedReduce(nn.Module):
    """Halve an even-sided map without losing pixels: half of the channels see the even ones, half the odd (DARTS)."""

    def __init__(self, width_in: int, width: int, norm: str | None = "bn") -> None:
        super().__init__()
        self.relu = SharedReLU()
        self.conv_1 = conv(width_in, width // 2, 1, stride=2)
        self.conv_2 = conv(width_in, width // 2, 1, stride=2)
        self.bn = norm_layer(norm, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        halves = [self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])]  # 2 x (B, width / 2, H / 2, W / 2)
        y: Tensor = self.bn(concatenate(halves))
        return y


class AvgPool(nn.AvgPool2d):
    """Average pooling; in bfloat16 on CPUs PyTorch's gradient takes four times as long as in float32."""

    def forward(self, x: Tensor) -> Tensor:
        if is_recording(x) and x.dtype == torch.bfloat16 and x.device.type == "cpu":
            return super().forward(x.float()).bfloat16()
        return super().forward(x)


class StridedSlice(nn.Module):
    """Take every second pixel: without preprocessing, this brings a cell's first input to the size of its second."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2]


class ChannelSqueezeExcite(nn.Module):
    """Squeeze and excitation over channels, `cse` (Hu et al.), with a hard-swish gate."""

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.fc1 = nn.Linear(width, width // 2)
        self.fc2 = nn.Linear(width // 2, width)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean(dim=(2, 3))  # (B, C)
        gate = F.hardswish(self.fc2(F.relu(self.fc1(squeezed))))  # (B, C)
        excited = x * gate[:, :, None, None]
        return excited[:, :, :: self.stride, :: self.stride]


class _FeedForward(nn.Module):
    """The MLP of a transformer block, with a hidden layer as wide as its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The published names count a dropout between the layers, which the networks do not use.
        self.net = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Identity(), nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.net(tokens)
        return y


class MultiHeadSelfAttention(nn.Module):
    """`msa`: a pre-norm transformer block on the pixels of a map, attention and MLP with residuals (ViT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))
        self.ln2 = nn.LayerNorm(width)
        self.ff = _FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, T, C)
        tokens = tokens + self.to_out(self._attention(self.ln1(tokens)))
        tokens = tokens + self.ff(self.ln2(tokens))
        maps: Tensor = tokens.transpose(1, 2).unflatten(2, x.shape[2:])  # (B, C, H, W)
        return maps

    def _attention(self, tokens: Tensor) -> Tensor:
        qkv = self.to_qkv(tokens).unflatten(2, (3, ATTENTION_HEADS, -1))  # (B, T, 3, h, C / h)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # 3 x (B, h, T, C / h)
        return attend(query, key, value).transpose(1, 2).flatten(2)  # (B, T, C)


class PositionalEncoding(nn.Module):
    """A learned encoding of the position, added to a map of `side` x `side` tokens (ViT)."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, width, side, side))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class DropPath(nn.Module):
    """Drop a path at random for each sample while training, and scale up what is kept (FractalNet; DARTS).

    Args:
        p: probability of dropping; may be changed at any time, as DARTS raises it over the epochs.

    Raises:
        InputError: a probability outside [0, 1).
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"drop_path is {p}; accepted: a probability of at least 0 and less than 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = 1 - self.p
        mask = x.new_empty(len(x), 1, 1, 1).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class AuxiliaryHead(nn.Module):
    """A second classifier in the middle of the network, for training only (GoogLeNet; DARTS).

    The CIFAR head has a norm layer after each convolution, the ImageNet head after the first only, as the DARTS
    results were obtained. DARTS pools 8x8 maps with stride 3 and 7x7 maps with stride 2, both in 5x5 windows; other
    sizes get windows in the same proportion.

    Shapes:
        input (B, width, S, S), output (B, num_classes); S >= 3
    """

    def __init__(self, width: int, num_classes: int, image_size: int, norm: str | None = "bn") -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(width, 128, 1),
            norm_layer(norm, 128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            norm_layer(norm if image_size == 32 else None, 768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        window = -(-5 * side // 8)
        pooled = F.avg_pool2d(F.relu(x), window, stride=side - window)  # (B, width, 2, 2)
        logits: Tensor = self.classifier(self.features(pooled).flatten(1))
        return logits


def operation(op: str, width_in: int, width: int, stride: int, norm: str | None) -> nn.Module:
    """Return the module of an operation of the genotype, except `none`.

    Pools, squeeze and excitation, attention and the identity keep the width `width_in` and ignore `width`.
    """
    match op:
        case "max_pool_3x3":
            return build_layer(nn.MaxPool2d, 3, stride, 1)
        case "avg_pool_3x3":
            return build_layer(AvgPool, 3, stride, 1, False, False)
        case "skip_connect":
            return build_layer(nn.Identity) if stride == 1 else build_layer(FactorizedReduce, width_in, width, norm)
        case "conv_7x1_1x7":
            return build_layer(Conv7x1_1x7, width_in, width, stride, norm)
        case "msa":
            return build_layer(MultiHeadSelfAttention, width_in)
        case "cse":
            return build_layer(ChannelSqueezeExcite, width_in, stride)
    family, kernel = op.rsplit("_", 1)
    layer = {"conv": ReLUConvNorm, "sep_conv": SepConv, "dil_conv": DilConv}[family]
    return build_layer(layer, width_in, width, int(kernel[0]), stride, norm)
