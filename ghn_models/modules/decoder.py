"""Decoders: from node features to those parts of predicted tensors that some parameter reads.

A predicted tensor has K x K channels and S x S positions, but a 1x1 convolution reads one position, and a depthwise one
a single input channel. Only what is read is computed: this is most of the speed, and of the memory, of large GHNs.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ghn_models.config import GHNConfig
from ghn_models.inputs.prediction_targets import ParameterKind
from ghn_models.modules.mlp import MLP
from ghn_models.modules.parameter_fitting import window

_MAX_COPIED = 2**21  # numbers of a weight that may be copied


@dataclass(frozen=True)
class DecodeShape:
    """The shape of the tensors that a group of nodes is decoded to.

    Args:
        channels: output and input channels that are read, at most K each; (K, in) for the weight of a classifier, whose
            num_classes outputs are made of the K.
        kernel: height and width of the kernels; of kernels larger than S, all S positions are read.
        kind: how the parameter is predicted.
    """

    channels: tuple[int, int]
    kernel: tuple[int, int]
    kind: ParameterKind

    def windows(self, size: int, place: str) -> tuple[slice, slice]:
        """Return the rows and columns that are read of predicted tensors of S x S positions."""
        height, width = self.kernel
        return window(height, size, place), window(width, size, place)


class ConvDecoder(nn.Module):
    """The compact decoder (DeepNets paper, section B.1).

    A linear layer to 4 d channels at every position, then two 1x1 convolutions to K K channels.

    Shapes:
        node features (n, d) of each group -> (n, o, i, h, w) of each group; o is num_classes for classifiers
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        d, k, s = config.hidden, config.decoder_channels, config.kernel_size
        self.k, self.s, self.window = k, s, config.window
        self.fc = nn.Linear(d, 4 * d * s * s)
        self.conv1 = nn.Linear(4 * d, 8 * d)
        self.conv2 = nn.Linear(8 * d, k * k)
        self.classifier = nn.Linear(k, config.num_classes)

    def forward(self, features: Sequence[Tensor], shapes: Sequence[DecodeShape]) -> list[Tensor]:
        """Return the predicted tensors of each group."""
        windows = [shape.windows(self.s, self.window) for shape in shapes]
        positions = self._decode_positions(features, windows)
        result = []
        for tensor, shape, (rows, columns) in zip(
            self._decode_channels(positions, shapes), shapes, windows, strict=True
        ):
            height, width = rows.stop - rows.start, columns.stop - columns.start
            w = tensor.view(-1, height, width, *shape.channels).permute(0, 3, 4, 1, 2)  # (n, o, i, h, w)
            result.append(self._classify(w) if shape.kind is ParameterKind.CLASSIFIER_WEIGHT else w)
        return result

    def _decode_positions(
        self, features: Sequence[Tensor], windows: Sequence[tuple[slice, slice]]
    ) -> tuple[Tensor, ...]:
        """Decode nodes to the positions in their windows: (n, d) -> (n h w, 8 d) for each group."""
        d4 = self.conv1.in_features
        weight = self.fc.weight.view(d4, self.s, self.s, -1).permute(1, 2, 0, 3)  # (S, S, 4 d, d)
        bias = self.fc.bias.view(d4, self.s, self.s).permute(1, 2, 0)
        hidden = _sliced_linear(weight, bias, windows, features)  # (n, h w 4 d)
        rows = torch.cat([h.view(-1, d4) for h in hidden]).relu()  # (M, 4 d)
        rows = self.conv1(rows).relu()  # (M, 8 d)
        return torch.split(rows, [h.numel() // d4 for h in hidden])

    def _decode_channels(self, positions: Sequence[Tensor], shapes: Sequence[DecodeShape]) -> list[Tensor]:
        """Decode positions to channels: (m, 8 d) -> (m, o i) for each group; groups with equal channels together."""
        same_channels: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, shape in sorted(enumerate(shapes), key=lambda item: item[1].channels):
            same_channels[shape.channels].append(i)
        slices = [(slice(0, out), slice(0, in_)) for out, in_ in same_channels]
        inputs = [torch.cat([positions[i] for i in members]) for members in same_channels.values()]
        weight, bias = self.conv2.weight.view(self.k, self.k, -1), self.conv2.bias.view(self.k, self.k)
        decoded = _sliced_linear(weight, bias, slices, inputs)
        result: dict[int, Tensor] = {}
        for members, tensor in zip(same_channels.values(), decoded, strict=True):
            result.update(zip(members, torch.split(tensor, [len(positions[i]) for i in members]), strict=True))
        return [result[i] for i in range(len(shapes))]

    def _classify(self, w: Tensor) -> Tensor:
        """Apply the classifier, a linear layer across output channels: (n, K, i, 1, 1) -> (n, num_classes, i, 1, 1)."""
        classified: Tensor = self.classifier(w[..., 0, 0].relu().transpose(1, 2))
        return classified.transpose(1, 2)[..., None, None]


class MLPDecoder(nn.Module):
    """Decoder that predicts each number with weights of its own (DeepNets paper, Table 8).

    Shapes:
        as those of `ConvDecoder`
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        d, k, s = config.hidden, config.decoder_channels, config.kernel_size
        self.k, self.s, self.window = k, s, config.window
        self.fc1 = nn.Linear(d, 2 * d)
        self.fc2 = nn.Linear(2 * d, k * k * s * s)
        self.classifier = nn.Linear(2 * d, config.num_classes * k)

    def forward(self, features: Sequence[Tensor], shapes: Sequence[DecodeShape]) -> list[Tensor]:
        """Return the predicted tensors of each group."""
        k, s = self.k, self.s
        hidden = [self.fc1(x).relu() for x in features]
        slices = [
            (*(slice(0, channels) for channels in shape.channels), *shape.windows(s, self.window)) for shape in shapes
        ]
        others = [i for i, shape in enumerate(shapes) if shape.kind is not ParameterKind.CLASSIFIER_WEIGHT]
        weight, bias = self.fc2.weight.view(k, k, s, s, -1), self.fc2.bias.view(k, k, s, s)
        decoded = _sliced_linear(weight, bias, [slices[i] for i in others], [hidden[i] for i in others])
        result = {
            i: tensor.view(-1, *(part.stop - part.start for part in slices[i]))
            for i, tensor in zip(others, decoded, strict=True)
        }
        for i, shape in enumerate(shapes):
            if shape.kind is ParameterKind.CLASSIFIER_WEIGHT:
                result[i] = self.classifier(hidden[i]).view(len(hidden[i]), -1, k, 1, 1)[:, :, : shape.channels[1]]
        return [result[i] for i in range(len(shapes))]


class VectorDecoder(nn.Module):
    """Decoder of norm layers and biases: K weights and K biases for each node.

    Shapes:
        (n, d) -> (n, 2, K)
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        k = config.decoder_channels
        self.mlp = MLP(config.hidden, (2 * config.hidden, 2 * k), last_activation=False)
        self.classifier = nn.Linear(k, config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return weights and biases."""
        vectors: Tensor = self.mlp(x)
        return vectors.view(len(x), 2, -1)

    def classify(self, vectors: Tensor) -> Tensor:
        """Return the biases of classifiers (n, num_classes), given the output for their nodes."""
        biases: Tensor = self.classifier(vectors[:, 1].relu())
        return biases


def _sliced_linear(
    weight: Tensor, bias: Tensor, slices: Sequence[tuple[slice, ...]], inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Apply linear layers whose weights are parts of one weight.

    Shapes:
        weight (*dims, d), bias (*dims), inputs (n, d) -> (n, m) for each input; its slices select m numbers of dims
    """
    if not inputs:
        return ()
    outputs: tuple[Tensor, ...] = _SlicedLinear.apply(weight, bias, slices, *inputs)
    return outputs


class _SlicedLinear(torch.autograd.Function):
    """Linear layers with parts of one weight, whose gradient is summed in one tensor.

    Autograd would make a gradient of the whole weight for each slice.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, slices: Sequence[tuple[slice, ...]], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(weight, bias, *inputs)
        ctx.slices = slices
        return tuple(_linear(x, weight[part], bias[part]) for part, x in zip(slices, inputs, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, bias, *inputs = ctx.saved_tensors
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        grad_inputs = []
        for part, x, grad in zip(ctx.slices, inputs, grads, strict=True):
            w = weight[part]
            grad_weight[part] += (grad.T @ x.to(grad.dtype)).view(w.shape)
            grad_bias[part] += grad.sum(0).view(w.shape[:-1])
            grad_inputs.append((grad @ w.flatten(0, -2).to(grad.dtype)).to(x.dtype))
        return grad_weight, grad_bias, None, *grad_inputs


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a linear layer whose weight (*dims, d) may not be contiguous; a large one is taken apart, not copied."""
    if weight.dim() == 2 or weight.numel() <= _MAX_COPIED or weight.is_contiguous():
        return F.linear(x, weight.flatten(0, -2), bias.flatten())
    return torch.cat([_linear(x, w, b) for w, b in zip(weight, bias, strict=True)], dim=1)
