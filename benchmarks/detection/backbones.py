"""Backbones of detectors: classification networks without their head, which return the maps that it pools.

Works for networks of DeepNets-1M, and for those of torchvision that end with global average pooling (ResNet, ConvNeXt,
Swin, EfficientNet, ...).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepnets.networks.network import Network
from deepnets.utils.errors import InputError

_PROBE = 128  # pixels
_POOLING = ("avgpool", "adaptive_avg_pool2d", "mean")


class Backbone(nn.Module):
    """A classification network without its head.

    Args:
        network: with the parameters to start from; a network of DeepNets-1M loses its head.

    Shapes:
        images (B, 3, H, W), sides divisible by 32 -> (B, out_channels, H', W')

    Raises:
        InputError: the network has no maps that a detector could read.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.attends = isinstance(network, Network) and network.architecture.is_vit
        self.trunk = _CellTrunk(network) if isinstance(network, Network) else _torchvision_trunk(network)
        device = next(network.parameters()).device
        self.trunk.eval()
        with torch.no_grad():
            self.out_channels = self(torch.zeros(1, 3, _PROBE, _PROBE, device=device)).shape[1]
        self.trunk.train()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.trunk(images)
        return maps if isinstance(maps, Tensor) else maps["0"]


class _CellTrunk(nn.Module):
    """A network of DeepNets-1M without its head."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        if network.architecture.is_vit:
            if network.image_size == 32:
                raise InputError(
                    "it has patches of 3x3 pixels, which do not fit the grid of a detector; give --image-size 224"
                )
            network.add_module("pos_enc", _ResizedEncoding(network.pos_enc.weight))
        del network.global_pooling, network.classifier
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.features(images)


class _ResizedEncoding(nn.Module):
    """Positional encoding that is interpolated to maps of any size (ViT, Dosovitskiy et al., 2020, section 3.2)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight  # (1, C, side, side)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.interpolate(self.weight, x.shape[2:], mode="bicubic", align_corners=False)


def _torchvision_trunk(network: nn.Module) -> nn.Module:
    """Cut a network before its last pooling, or before its classifier if that comes first (SqueezeNet).

    Raises:
        InputError: the network does not pool maps.
    """
    from torchvision.models import VisionTransformer
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    if isinstance(network, VisionTransformer):
        raise InputError("it has a sequence of patches before its classifier, and a detector reads maps")
    _, names = get_graph_node_names(network, suppress_diff_warning=True)
    modules = dict(network.named_modules())
    pooled = [
        i
        for i, name in enumerate(names)
        if isinstance(modules.get(name), nn.AdaptiveAvgPool2d) or name.split(".")[-1].startswith(_POOLING)
    ]
    if not pooled:
        raise InputError("it pools no maps before its classifier, so it cannot be the backbone of a detector")
    head = min(pooled[-1], *(i for i, name in enumerate(names) if name.startswith("classifier")), len(names))
    trunk: nn.Module = create_feature_extractor(network, {names[head - 1]: "0"}, suppress_diff_warning=True)
    return trunk
