"""The Vision Transformer of the GHN-3 paper, which has no class token."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer


class PooledViT(VisionTransformer):  # type: ignore[misc]
    """A Vision Transformer of torchvision that averages its tokens instead of using a class token.

    Networks of DeepNets-1M have no class token either (GHN-3 paper, section A.3.4).

    Args:
        image_size: height and width of the input.
        options: patch_size, num_layers, num_heads, hidden_dim, mlp_dim and num_classes, as for torchvision's class.

    Shapes:
        images (B, 3, image_size, image_size) -> logits (B, num_classes)
    """

    def __init__(self, image_size: int = 224, **options: Any) -> None:
        super().__init__(image_size=image_size, **options)
        del self.class_token
        self.set_patches(image_size, self.patch_size, self.conv_proj)

    def set_patches(self, image_size: int, patch_size: int, projection: nn.Module) -> None:
        """Change the size of the images, and the patches that they are cut into.

        Args:
            image_size: height and width of the input.
            patch_size: height and width of a patch.
            projection: layer that maps the patches of an image to tokens.
        """
        self.image_size, self.patch_size, self.conv_proj = image_size, patch_size, projection
        self.seq_length = (image_size // patch_size) ** 2
        positions = torch.empty(1, self.seq_length, self.hidden_dim)
        self.encoder.pos_embedding = nn.Parameter(nn.init.normal_(positions, std=0.02))  # as torchvision's

    def forward(self, x: Tensor) -> Tensor:
        tokens = self._process_input(x)  # (B, T, C)
        logits: Tensor = self.heads(self.encoder(tokens).mean(1))
        return logits
