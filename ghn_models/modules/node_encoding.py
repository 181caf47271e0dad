"""Node encoding: what a GHN knows about a node before it sees the graph, its primitive and its parameter's shape."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepnets.graphs.primitives import PRIMITIVES


class NodeEncoding(nn.Module):
    """Sum of two embeddings, of the primitive and of the shape (DeepNets paper, section B.1).

    Each of the four dimensions of a shape has a vocabulary of sizes; other sizes take the closest one of it.

    Args:
        hidden: size d of node features.
        num_classes: a size that the channel vocabulary always has.
        kernel_size: the largest odd kernel size S, at least 11.
        shapes: embed the shape; else the primitive alone (DeepNets paper, Table 8).

    Shapes:
        primitive (N,), shape (N, 4) zeros where a node has none -> (N, d)
    """

    channel_index: Tensor
    spatial_index: Tensor

    def __init__(self, hidden: int, num_classes: int, kernel_size: int, shapes: bool = True) -> None:
        super().__init__()
        channels = channel_vocabulary(num_classes)
        spatial = spatial_vocabulary(kernel_size)
        self.primitive = nn.Embedding(len(PRIMITIVES), hidden)
        self.shapes = shapes
        if not shapes:
            return
        # One entry more for nodes without a shape.
        self.channel = nn.Embedding(len(channels) + 1, hidden // 4)
        self.spatial = nn.Embedding(len(spatial) + 1, hidden // 4)
        # Which sizes take the next larger one, and which the closest, is as in the published GHNs.
        channel_index = torch.from_numpy(_closest(channels, upwards=range(2, 8)))
        spatial_index = torch.from_numpy(_closest(spatial, upwards=range(2, 3)))
        self.register_buffer("channel_index", channel_index, persistent=False)
        self.register_buffer("spatial_index", spatial_index, persistent=False)

    def forward(self, primitive: Tensor, shape: Tensor) -> Tensor:
        """Return node features."""
        embedded: Tensor = self.primitive(primitive)
        if not self.shapes:
            return embedded
        channels = self.channel_index[shape[:, :2].clamp(max=len(self.channel_index) - 1)]  # (N, 2)
        spatial = self.spatial_index[shape[:, 2:].clamp(max=len(self.spatial_index) - 1)]  # (N, 2)
        encoded = torch.cat([self.channel(channels), self.spatial(spatial)], dim=1)  # (N, 4, d / 4)
        return embedded + encoded.flatten(1)


def channel_vocabulary(num_classes: int) -> list[int]:
    """Return the numbers of channels that a GHN tells apart."""
    sizes = {1, 3, num_classes, *range(8, 64, 8), *range(64, 4096, 16), *range(4096, 8193, 32)}
    return sorted(sizes)


def spatial_vocabulary(kernel_size: int) -> list[int]:
    """Return the kernel sizes that a GHN tells apart."""
    return sorted({*range(1, max(12, kernel_size), 2), 14, 16})


def _closest(vocabulary: list[int], upwards: range) -> NDArray[np.int64]:
    """Return the position in the vocabulary of every size (largest + 1,); 0, no shape, has the entry after the last.

    Sizes in `upwards` take the next larger one of the vocabulary, others the closest.
    """
    sizes = np.arange(vocabulary[-1] + 1)
    index: NDArray[np.int64] = np.abs(sizes[:, None] - np.array(vocabulary)).argmin(axis=1)
    index[upwards] = np.searchsorted(vocabulary, upwards)
    index[0] = len(vocabulary)
    return index
