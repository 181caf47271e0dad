"""Decoders: from node features to predicted tensors, as far as some parameter reads them.

A predicted tensor has K x K channels and S x S positions, but a 1x1 convolution reads one position, and a depthwise one
a single input channel. Only what is read is computed: this is most of the speed, and of the memory, of large GHNs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ghn_models.config import GHNConfig
from ghn_models.inputs.prediction_targets import Kind
from ghn_models.modules.mlp import MLP
from ghn_models.modules.parameter_fitting import window

_COPIED = 2**21  # numbers of a weight that may be copied


@dataclass(frozen=True)
class Request:
    """Tensors of one shape that nodes shall be decoded to.

    Args:
        channels: output and input channels that are read, at most K each.
        kernel: height and width of the kernels; of larger ones than S all S positions are read.
        kind: of a classifier's weight, `channels` are (K, in), and num_classes outputs are made of the K.
    """

    channels: tuple[int, int]
    kernel: tuple[int, int]
    kind: Kind


class ConvDecoder(nn.Module):
    """The compact decoder (DeepNets paper, section B.1): a linear layer to 4 d channels at every position, then two
    1x1 convolutions to K K channels.

    Shapes:
        node features (n, d) for each request -> (n, o, i, h, w) for each request; o is num_classes for classifiers
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        d, k, s = config.hidden, config.decoder_channels, config.kernel_size
        self.k, self.s, self.window = k, s, config.window
        self.fc = nn.Linear(d, 4 * d * s * s)
        self.conv1 = nn.Linear(4 * d, 8 * d)
        self.conv2 = nn.Linear(8 * d, k * k)
        self.classifier = nn.Linear(k, config.num_classes)

    def forward(self, features: Sequence[Tensor], requests: Sequence[Request]) -> list[Tensor]:
        """Predicted tensors."""
        windows = [tuple(window(kernel, self.s, self.window) for kernel in request.kernel) for request in requests]
        d4 = self.conv1.in_features
        # Rows of the result are positions: (n, h w 4 d) -> (n h w, 4 d).
        fc = self.fc.weight.view(d4, self.s, self.s, -1).permute(1, 2, 0, 3), self.fc.bias.view(d4, self.s, self.s)
        hidden = _sliced_linear(fc[0], fc[1].permute(1, 2, 0), windows, features)
        rows = torch.cat([h.view(-1, d4) for h in hidden]).relu()  # (M, 4 d)
        rows = self.conv1(rows).relu()  # (M, 8 d)
        parts = rows.split([h.numel() // d4 for h in hidden])

        order = sorted(range(len(requests)), key=lambda i: requests[i].channels)
        groups = [list(group) for _, group in groupby(order, key=lambda i: requests[i].channels)]
        slices = [tuple(slice(0, c) for c in requests[group[0]].channels) for group in groups]
        conv2 = self.conv2.weight.view(self.k, self.k, -1), self.conv2.bias.view(self.k, self.k)
        decoded = _sliced_linear(*conv2, slices, [torch.cat([parts[i] for i in group]) for group in groups])
        result: dict[int, Tensor] = {}
        for group, tensor in zip(groups, decoded, strict=True):
            for i, part in zip(group, tensor.split([len(parts[i]) for i in group]), strict=True):
                height, width = (w.stop - w.start for w in windows[i])
                part = part.view(-1, height, width, *requests[i].channels).permute(0, 3, 4, 1, 2)
                result[i] = self._classify(part) if requests[i].kind is Kind.CLASSIFIER_WEIGHT else part
        return [result[i] for i in range(len(requests))]

    def _classify(self, w: Tensor) -> Tensor:
        """(n, K, i, 1, 1) -> (n, num_classes, i, 1, 1), a linear layer across the output channels."""
        return self.classifier(w[..., 0, 0].relu().transpose(1, 2)).transpose(1, 2)[..., None, None]


class MLPDecoder(nn.Module):
    """Decoder that predicts each number with weights of its own (DeepNets paper, Table 8).

    Shapes:
        as of `ConvDecoder`
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        d, k, s = config.hidden, config.decoder_channels, config.kernel_size
        self.k, self.s, self.window = k, s, config.window
        self.fc1 = nn.Linear(d, 2 * d)
        self.fc2 = nn.Linear(2 * d, k * k * s * s)
        self.classifier = nn.Linear(2 * d, config.num_classes * k)

    def forward(self, features: Sequence[Tensor], requests: Sequence[Request]) -> list[Tensor]:
        """Predicted tensors."""
        k, s = self.k, self.s
        hidden = [self.fc1(x).relu() for x in features]
        slices = [
            (*(slice(0, c) for c in request.channels), *(window(kernel, s, self.window) for kernel in request.kernel))
            for request in requests
        ]
        plain = [i for i, request in enumerate(requests) if request.kind is not Kind.CLASSIFIER_WEIGHT]
        weight, bias = self.fc2.weight.view(k, k, s, s, -1), self.fc2.bias.view(k, k, s, s)
        decoded = _sliced_linear(weight, bias, [slices[i] for i in plain], [hidden[i] for i in plain])
        result = {
            i: tensor.view(-1, *(part.stop - part.start for part in slices[i]))
            for i, tensor in zip(plain, decoded, strict=True)
        }
        for i, request in enumerate(requests):
            if request.kind is Kind.CLASSIFIER_WEIGHT:
                result[i] = self.classifier(hidden[i]).view(len(hidden[i]), -1, k, 1, 1)[:, :, : request.channels[1]]
        return [result[i] for i in range(len(requests))]


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
        """Weights and biases."""
        return self.mlp(x).view(len(x), 2, -1)

    def classify(self, vectors: Tensor) -> Tensor:
        """Biases of classifiers (n, num_classes) from the output for their nodes."""
        return self.classifier(vectors[:, 1].relu())


def _sliced_linear(
    weight: Tensor, bias: Tensor, slices: Sequence[tuple[slice, ...]], inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Linear layers with parts of one weight.

    Shapes:
        weight (*dims, d), bias (*dims), inputs (n, d) -> (n, m) for each input, m numbers of dims are in its slices.
    """
    return _SlicedLinear.apply(weight, bias, slices, *inputs) if inputs else ()


class _SlicedLinear(torch.autograd.Function):
    """Its gradient is summed up in one tensor; autograd would make one of the whole weight for each slice."""

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
    """A linear layer whose weight (*dims, d) may not be contiguous: a large one is not copied, but taken apart."""
    if weight.dim() == 2 or weight.numel() <= _COPIED or weight.is_contiguous():
        return F.linear(x, weight.flatten(0, -2), bias.flatten())
    return torch.cat([_linear(x, w, b) for w, b in zip(weight, bias, strict=True)], dim=1)
