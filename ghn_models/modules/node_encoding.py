"""What a GHN knows of a node before it looks at the graph: its primitive and the shape of its parameter."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepnets.graphs.primitives import PRIMITIVES


class NodeEncoding(nn.Module):
    """Sum of an embedding of the primitive and one of the shape (DeepNets paper, section B.1).

    Each of the four dimensions of a shape has a vocabulary of sizes; other sizes take the closest one.

    Args:
        hidden: size d of node features.
        num_classes: a size that the channel vocabulary always has.
        kernel_size: the largest odd kernel size S, at least 11.

    Shapes:
        primitive (N,), shape (N, 4) zeros where a node has none -> (N, d)
    """

    channel_index: Tensor
    spatial_index: Tensor

    def __init__(self, hidden: int, num_classes: int, kernel_size: int) -> None:
        super().__init__()
        channels = channel_vocabulary(num_classes)
        spatial = spatial_vocabulary(kernel_size)
        # One entry more for nodes without a shape.
        self.primitive = nn.Embedding(len(PRIMITIVES), hidden)
        self.channel = nn.Embedding(len(channels) + 1, hidden // 4)
        self.spatial = nn.Embedding(len(spatial) + 1, hidden // 4)
        # What is next larger and what closest is as in the published GHNs.
        channel_index = torch.from_numpy(_closest(channels, upwards=range(2, 8)))
        spatial_index = torch.from_numpy(_closest(spatial, upwards=range(2, 3)))
        self.register_buffer("channel_index", channel_index, persistent=False)
        self.register_buffer("spatial_index", spatial_index, persistent=False)

    def forward(self, primitive: Tensor, shape: Tensor) -> Tensor:
        """Node features."""
        channels = self.channel_index[shape[:, :2].clamp(max=len(self.channel_index) - 1)]  # (N, 2)
        spatial = self.spatial_index[shape[:, 2:].clamp(max=len(self.spatial_index) - 1)]  # (N, 2)
        encoded = torch.cat([self.channel(channels), self.spatial(spatial)], dim=1)  # (N, 4, d / 4)
        return self.primitive(primitive) + encoded.flatten(1)


def channel_vocabulary(num_classes: int) -> list[int]:
    """Numbers of channels that a GHN tells apart."""
    sizes = {1, 3, num_classes, *range(8, 64, 8), *range(64, 4096, 16), *range(4096, 8193, 32)}
    return sorted(sizes)


def spatial_vocabulary(kernel_size: int) -> list[int]:
    """Kernel sizes that a GHN tells apart."""
    return sorted({*range(1, max(12, kernel_size), 2), 14, 16})


def _closest(vocabulary: list[int], upwards: range) -> NDArray[np.int64]:
    """(largest + 1,) position in the vocabulary of every size; for 0, no shape, the entry after the last.

    Sizes in `upwards` take the next larger one of the vocabulary, others the closest.
    """
    sizes = np.arange(vocabulary[-1] + 1)
    index = np.abs(sizes[:, None] - np.array(vocabulary)).argmin(axis=1)
    index[upwards] = np.searchsorted(vocabulary, upwards)
    index[0] = len(vocabulary)
    return index
