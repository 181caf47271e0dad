"""Networks of NAS-Bench-Macro (Su et al., 2021, appendix; inverted residual blocks: Sandler et al., 2018)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu6

from deepnets.spaces.nasbench_macro import EXPANSIONS, HEAD_WIDTH, STEM_WIDTH, Layer, layers_of


class Shortcut(nn.Module):
    """A 1x1 convolution and batch norm, in place of an identity that cannot keep the shape."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, 1, stride=stride, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection, and a residual connection where the shape stays.

    Shapes:
        (B, width_in, H, W) to (B, width, H / stride, W / stride).
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        expansion, kernel = EXPANSIONS[layer.choice]
        inner = expansion * layer.width_in
        self.residual = layer.stride == 1
        self.conv1 = nn.Conv2d(layer.width_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, kernel, layer.stride, kernel // 2, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, layer.width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(layer.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = relu6(self.bn1(self.conv1(x)))
        out = relu6(self.bn2(self.conv2(out)))
        projected: Tensor = self.bn3(self.conv3(out))
        return x + projected if self.residual else projected


def _layer(layer: Layer) -> nn.Module:
    if layer.choice in EXPANSIONS:
        return InvertedResidual(layer)
    return nn.Identity() if layer.stride == 1 else Shortcut(layer.width_in, layer.width, layer.stride)


class ConvNormReLU6(nn.Module):
    """Convolution that keeps the size, batch norm, ReLU6."""

    def __init__(self, width_in: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return relu6(out)


class NASBenchMacroNetwork(nn.Module):
    """The network of a key.

    Args:
        key: eight digits, see `deepnets.spaces.nasbench_macro`.
        num_classes: outputs of the classifier.

    Shapes:
        images (B, 3, H, W), H and W divisible by 8; logits (B, num_classes).

    Raises:
        InputError: the key is not eight digits from 0 to 2.
    """

    image_size = 32

    def __init__(self, key: str, num_classes: int = 10) -> None:
        super().__init__()
        layers = layers_of(key)
        self.stem = ConvNormReLU6(3, STEM_WIDTH, 3)
        self.cells = nn.Sequential(*map(_layer, layers))
        self.head = ConvNormReLU6(layers[-1].width, HEAD_WIDTH, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(HEAD_WIDTH, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.head(self.cells(self.stem(images)))
        out: Tensor = self.classifier(torch.flatten(self.pool(x), 1))
        return out
