"""Variants of torchvision's networks that the GHN papers evaluate: closer to DeepNets-1M, and huge.

`VARIANTS[name](num_classes)` builds one with torchvision's random initialization, for 224x224 images. Functions import
torchvision when they are called, because its import takes two seconds.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

_RESNET_1000 = (3, 32, 280, 18)
_VIT_1_2B = {"patch_size": 16, "num_layers": 32, "num_heads": 16, "hidden_dim": 1792, "mlp_dim": 7168}


def resnet50_bnfree(num_classes: int = 1000) -> nn.Module:
    """Build ResNet-50 without batch norm (GHN-3 paper, Table 16)."""
    from torchvision.models import resnet50

    network: nn.Module = resnet50(num_classes=num_classes, norm_layer=nn.Identity)
    return network


def vit_b_16_gap(num_classes: int = 1000) -> nn.Module:
    """Build ViT-B/16 with global average pooling instead of a class token (GHN-3 paper, Table 14)."""
    return _pooled_vit(
        patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, num_classes=num_classes
    )


def efficientnet_b0_relu(num_classes: int = 1000) -> nn.Module:
    """Build EfficientNet-B0 with ReLU instead of SiLU (GHN-3 paper, Table 14).

    The paper leaves open whether SiLU is replaced everywhere or in squeeze-and-excitation only. Here it is replaced
    everywhere, because DeepNets-1M has no SiLU.
    """
    from torchvision.models import efficientnet_b0

    network: nn.Module = efficientnet_b0(num_classes=num_classes)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, nn.ReLU(inplace=True))
    return network


def resnet1000(num_classes: int = 1000) -> nn.Module:
    """Build ResNet-1000 (GHN-3 paper, Table 13): 333 bottleneck blocks, 1,001 layers, 406M parameters.

    The paper prints "> 400M parameters", but not how many blocks a stage has. The numbers here are ours; as in
    ResNet-152, most blocks are in the third stage.
    """
    from torchvision.models.resnet import Bottleneck, ResNet

    network: nn.Module = ResNet(Bottleneck, list(_RESNET_1000), num_classes=num_classes)
    return network


def vit_1_2b(num_classes: int = 1000) -> nn.Module:
    """Build ViT-1.2B (GHN-3 paper, Table 13): pooled tokens, "> 1.2 billion parameters".

    The paper does not print its sizes. Here it has 32 layers, 1,792 channels, 16 heads, and MLPs four times as wide:
    1,237M parameters.
    """
    return _pooled_vit(**_VIT_1_2B, num_classes=num_classes)


def _pooled_vit(**options: Any) -> nn.Module:
    from deepnets.networks.pooled_vit import PooledViT

    network: nn.Module = PooledViT(**options)
    return network


VARIANTS: dict[str, Callable[[int], nn.Module]] = {
    function.__name__: function
    for function in (resnet50_bnfree, vit_b_16_gap, efficientnet_b0_relu, resnet1000, vit_1_2b)
}
"""Functions that build a variant for a number of classes, by name."""
