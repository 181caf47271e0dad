"""Variants of torchvision's networks that the GHN papers evaluate: without distribution shift, and huge ones.

`VARIANTS[name](num_classes)` builds them with torchvision's random initialisation, for 224x224 images.
torchvision, which takes two seconds to import, is imported when it is needed.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

_RESNET_1000 = (3, 32, 280, 18)
_VIT_1_2B = {"patch_size": 16, "num_layers": 32, "num_heads": 16, "hidden_dim": 1792, "mlp_dim": 7168}


def resnet50_bnfree(num_classes: int = 1000) -> nn.Module:
    """ResNet-50 without batch norm (GHN-3 paper, Table 16)."""
    from torchvision.models import resnet50

    return resnet50(num_classes=num_classes, norm_layer=nn.Identity)


def vit_b_16_gap(num_classes: int = 1000) -> nn.Module:
    """ViT-B/16 with global average pooling instead of a class token (GHN-3 paper, Table 14)."""
    return _pooled_vit(
        patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, num_classes=num_classes
    )


def efficientnet_b0_relu(num_classes: int = 1000) -> nn.Module:
    """EfficientNet-B0 with ReLU instead of SiLU (GHN-3 paper, Table 14).

    The paper speaks of squeeze and excitation, and of replacing SiLU in EfficientNet. Here all of them are replaced:
    DeepNets-1M has no SiLU anywhere.
    """
    from torchvision.models import efficientnet_b0

    network = efficientnet_b0(num_classes=num_classes)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, nn.ReLU(inplace=True))
    return network


def resnet1000(num_classes: int = 1000) -> nn.Module:
    """ResNet-1000 (GHN-3 paper, Table 13): 333 bottleneck blocks, 1,001 layers, 406M parameters.

    The paper prints no numbers of blocks, only "> 400M parameters"; those of the four stages here are ours. As in
    ResNet-152 most are in the third.
    """
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, list(_RESNET_1000), num_classes=num_classes)


def vit_1_2b(num_classes: int = 1000) -> nn.Module:
    """ViT-1.2B (GHN-3 paper, Table 13): pooled tokens, "> 1.2 billion parameters".

    The paper does not print its sizes; here 1,792 channels, 16 heads, MLPs four times as wide, and 32
    layers: 1,237M parameters.
    """
    return _pooled_vit(**_VIT_1_2B, num_classes=num_classes)


def _pooled_vit(**options: Any) -> nn.Module:
    from deepnets.networks.pooled_vit import PooledViT

    return PooledViT(**options)


VARIANTS: dict[str, Callable[[int], nn.Module]] = {
    function.__name__: function
    for function in (resnet50_bnfree, vit_b_16_gap, efficientnet_b0_relu, resnet1000, vit_1_2b)
}
"""Functions of the number of classes, by name."""
