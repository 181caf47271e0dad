"""Variants of torchvision's networks that the GHN papers evaluate: without distribution shift, and huge ones.

`VARIANTS[name](num_classes)` builds them with torchvision's random initialisation, for 224x224 images.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import efficientnet_b0 as _efficientnet_b0
from torchvision.models import resnet50 as _resnet50
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

_RESNET_1000 = (3, 32, 280, 18)
_VIT_1_2B = {"patch_size": 16, "num_layers": 32, "num_heads": 16, "hidden_dim": 1792, "mlp_dim": 7168}


class PooledViT(VisionTransformer):
    """A Vision Transformer of torchvision that averages its tokens instead of reading a class token.

    As in DeepNets-1M, where no network has a class token (GHN-3 paper, section A.3.4).

    Args:
        image_size, patch_size, num_layers, num_heads, hidden_dim, mlp_dim, num_classes: as of torchvision's.

    Shapes:
        images (B, 3, image_size, image_size) -> logits (B, num_classes)
    """

    def __init__(self, image_size: int = 224, **options: Any) -> None:
        super().__init__(image_size=image_size, **options)
        del self.class_token
        self.set_patches(image_size, self.patch_size, self.conv_proj)

    def set_patches(self, image_size: int, patch_size: int, projection: nn.Module) -> None:
        """Read images of another size, or other patches."""
        self.image_size, self.patch_size, self.conv_proj = image_size, patch_size, projection
        self.seq_length = (image_size // patch_size) ** 2
        positions = torch.empty(1, self.seq_length, self.hidden_dim)
        self.encoder.pos_embedding = nn.Parameter(nn.init.normal_(positions, std=0.02))  # as torchvision's

    def forward(self, x: Tensor) -> Tensor:
        tokens = self._process_input(x)  # (B, T, C)
        return self.heads(self.encoder(tokens).mean(1))


def resnet50_bnfree(num_classes: int = 1000) -> nn.Module:
    """ResNet-50 without batch norm (GHN-3 paper, Table 16)."""
    return _resnet50(num_classes=num_classes, norm_layer=nn.Identity)


def vit_b_16_gap(num_classes: int = 1000) -> nn.Module:
    """ViT-B/16 with global average pooling instead of a class token (GHN-3 paper, Table 14)."""
    return PooledViT(patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, num_classes=num_classes)


def efficientnet_b0_relu(num_classes: int = 1000) -> nn.Module:
    """EfficientNet-B0 with ReLU instead of SiLU (GHN-3 paper, Table 14).

    The paper speaks of squeeze and excitation, and of replacing SiLU in EfficientNet. Here all of them are replaced:
    DeepNets-1M has no SiLU anywhere.
    """
    network = _efficientnet_b0(num_classes=num_classes)
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
    return ResNet(Bottleneck, list(_RESNET_1000), num_classes=num_classes)


def vit_1_2b(num_classes: int = 1000) -> nn.Module:
    """ViT-1.2B (GHN-3 paper, Table 13): pooled tokens, "> 1.2 billion parameters".

    The paper does not print its sizes; here 1,792 channels, 16 heads, MLPs four times as wide, and 32
    layers: 1,237M parameters.
    """
    return PooledViT(**_VIT_1_2B, num_classes=num_classes)


VARIANTS: dict[str, Callable[[int], nn.Module]] = {
    function.__name__: function
    for function in (resnet50_bnfree, vit_b_16_gap, efficientnet_b0_relu, resnet1000, vit_1_2b)
}
"""Functions of the number of classes, by name."""
