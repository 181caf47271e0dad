"""Genotypes and architectures by name, from the DeepNets-1M paper and the papers that it builds on."""

from collections.abc import Callable

from deepnets.design_space.architecture import Architecture
from deepnets.design_space.genotype import Edge, Genotype
from deepnets.utils.errors import InputError, unknown_choice

DARTS = Genotype(
    normal=(
        *(("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_3x3", 1), ("skip_connect", 0)),
        *(("skip_connect", 0), ("dil_conv_3x3", 2)),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        *(("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        *(("skip_connect", 2), ("max_pool_3x3", 1)),
        *(("max_pool_3x3", 0), ("skip_connect", 2)),
        *(("skip_connect", 2), ("max_pool_3x3", 1)),
    ),
    reduce_concat=(2, 3, 4, 5),
)
"""The best cells of DARTS, second order (Liu et al., 2018, Figures 4 and 5)."""

PDARTS = Genotype(
    normal=(
        *(("skip_connect", 0), ("dil_conv_3x3", 1)),
        *(("skip_connect", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_3x3", 1), ("sep_conv_3x3", 3)),
        *(("sep_conv_3x3", 0), ("dil_conv_5x5", 4)),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        *(("avg_pool_3x3", 0), ("sep_conv_5x5", 1)),
        *(("sep_conv_3x3", 0), ("dil_conv_5x5", 2)),
        *(("max_pool_3x3", 0), ("dil_conv_3x3", 1)),
        *(("dil_conv_3x3", 1), ("dil_conv_5x5", 3)),
    ),
    reduce_concat=(2, 3, 4, 5),
)
"""The best cells of Progressive DARTS (Chen et al., 2019)."""

VIT = Genotype(
    normal=(("none", 0), ("msa", 1)),
    normal_concat=(2,),
    reduce=(("none", 0), ("avg_pool_3x3", 1)),
    reduce_concat=(2,),
)
"""A chain of transformer blocks, with pooling in place of a block in the reduction cells (DeepNets-1M, section 3)."""

_BASIC_BLOCK: tuple[Edge, ...] = (
    *(("none", 0), ("conv_3x3", 1)),
    *(("conv_3x3", 2), ("skip_connect", 1)),
)
RESNET18 = Genotype(_BASIC_BLOCK, (3,), _BASIC_BLOCK, (3,))
"""The residual block of ResNet-18 (DeepNets-1M, Figure 5 b). In the reduction cell the first convolution has stride 2
and the shortcut is a factorized reduction."""

_BOTTLENECK: tuple[Edge, ...] = (
    *(("none", 0), ("conv_1x1", 1)),
    *(("none", 0), ("conv_3x3", 2)),
    *(("conv_1x1", 3), ("skip_connect", 1)),
)
RESNET50 = Genotype(_BOTTLENECK, (4,), _BOTTLENECK, (4,))
"""The residual block of ResNet-50 (DeepNets-1M, Figure 5 d), without the bottleneck: all layers of a cell are equally
wide."""


def darts() -> Architecture:
    """Return the 14-cell network that the DeepNets-1M paper fine-tunes (section 5.3, Table 6).

    The paper does not print its width. This is the ImageNet network of the DARTS paper, with 48 channels and an
    ImageNet-style stem: 4.7M parameters on 224x224 images with 1000 classes.
    """
    return Architecture(DARTS, n_cells=14, channels=48, stem_type=1)


def darts_cifar() -> Architecture:
    """Return the CIFAR-10 network of the DARTS paper (section 3.2): 20 cells, 36 channels.

    The DeepNets-1M paper trains it for Table 9.
    """
    return Architecture(DARTS, n_cells=20, channels=36)


def pdarts_cifar() -> Architecture:
    """Return the CIFAR-10 network of the P-DARTS paper (Chen et al., 2019): 20 cells, 36 channels."""
    return Architecture(PDARTS, n_cells=20, channels=36)


def vit() -> Architecture:
    """Return the 12-layer Vision Transformer of the split predefined (DeepNets-1M, section 3), with 128 channels.

    Two of its layers are reduction cells, which pool instead of attending; the resolution never changes.
    """
    return Architecture(VIT, n_cells=12, channels=128, preproc=False, C_mult=1)


def resnet18() -> Architecture:
    """Return ResNet-18 as cells (DeepNets-1M, Figure 5 c): a 7x7 convolution, max pooling and 8 residual blocks.

    Differences from He et al.: two reductions (cells 2 and 5) instead of three; a factorized reduction in shortcuts
    instead of a strided 1x1 convolution; ReLU before the convolution; the same width everywhere, because without 1x1
    convolutions at the inputs of cells an identity would have to change the width before each reduction. The split
    predefined has the ResNet-50 of torchvision instead.
    """
    return Architecture(RESNET18, n_cells=8, channels=64, ks=7, stem_pool=True, preproc=False, C_mult=1)


def resnet50() -> Architecture:
    """Return ResNet-50 as cells (DeepNets-1M, Figure 5 d): 16 blocks of 1x1, 3x3 and 1x1 convolutions.

    Differences from He et al. are those of `resnet18`. Besides, the design space has no bottlenecks (paper, Table 7):
    the 3x3 convolutions are as wide as the block's input. Reductions are cells 5 and 10.
    """
    return Architecture(RESNET50, n_cells=16, channels=64, ks=7, stem_pool=True, preproc=False, C_mult=1)


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    "darts": darts,
    "darts_cifar": darts_cifar,
    "pdarts_cifar": pdarts_cifar,
    "vit": vit,
    "resnet18": resnet18,
    "resnet50": resnet50,
}


def named_architecture(name: str) -> Architecture:
    """Return the architecture of this name.

    Raises:
        InputError: no architecture has this name.
    """
    if name not in ARCHITECTURES:
        raise InputError(unknown_choice("architecture", name, ARCHITECTURES))
    return ARCHITECTURES[name]()
