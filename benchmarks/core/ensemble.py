"""Ensembles of networks (GHN-3 paper, section A.3.5, Table 15)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Networks whose logits are averaged; each of them is initialized and trained by itself.

    Args:
        networks: networks for the same images and classes.

    Shapes:
        images (B, 3, H, H) -> logits (B, K)
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([network(images) for network in self.networks]).mean(0)


def members(network: nn.Module) -> list[nn.Module]:
    """Return the networks of an ensemble; any other network is its only member."""
    return list(network.networks) if isinstance(network, Ensemble) else [network]
