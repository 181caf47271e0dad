"""Networks of torchvision on images of 32 or 224 pixels."""

from typing import Any

from torch import nn

from deepnets.networks.torchvision_variants import VARIANTS


def torchvision_network(name: str, image_size: int, num_classes: int) -> nn.Module:
    """Build a network of torchvision, or a variant of one; for 32 pixels its first layers keep the resolution.

    As for ResNet-50 in the DeepNets paper (section 3), the first convolution of residual and dense networks and Swin
    gets 3x3 kernels and stride 1, and a pooling layer right behind it goes. That of ConvNeXt keeps its 4x4 kernels and
    gets stride 1, as in the code of the GHN-orth paper. Vision Transformers get patches of 4x4 pixels. Other families
    stay as they are.
    """
    network = VARIANTS[name](num_classes) if name in VARIANTS else _torchvision_model(name, image_size, num_classes)
    if image_size == 32:
        _keep_resolution(network, name)
    return network


def _torchvision_model(name: str, image_size: int, num_classes: int) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if image_size == 32 and name.startswith("vit_"):
        options |= {"image_size": 8 * int(name.rsplit("_")[-1])}  # 8x8 patches
    network: nn.Module = getattr(torchvision.models, name)(num_classes=num_classes, **options)
    return network


def _keep_resolution(network: Any, name: str) -> None:
    if name.startswith(("resnet", "resnext", "wide_resnet")):
        network.conv1, network.maxpool = _stride1(network.conv1), nn.Identity()
    elif name.startswith("densenet"):
        features = network.features
        features.conv0, features.pool0 = _stride1(features.conv0), nn.Identity()
    elif name.startswith("convnext"):
        network.features[0][0].stride = (1, 1)
    elif name.startswith("swin"):
        network.features[0][0] = _stride1(network.features[0][0])
    elif hasattr(network, "set_patches"):
        network.set_patches(32, 4, nn.Conv2d(3, network.hidden_dim, 4, stride=4))
    elif name.startswith("vit"):
        network.image_size, network.patch_size = 32, 4
        network.conv_proj = nn.Conv2d(3, network.hidden_dim, 4, stride=4)


def _stride1(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return a 3x3 convolution of the same width with stride 1."""
    return nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1, bias=convolution.bias is not None)
