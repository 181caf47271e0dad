"""Splits of existing networks, whose graphs are traced: PyTorch-74 and the predefined networks.

PyTorch-74 is the set of torchvision's image classification models on which GHN-3 was evaluated (GHN-3 paper, Table
20), on 224x224 inputs with 1000 classes. The predefined networks of the DeepNets-1M paper (section 3) are ResNet-50
and a 12-layer Vision Transformer, for either image size.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn
from tqdm import tqdm

from deepnets.design_space.image_sizes import check_image_size
from deepnets.design_space.named_architectures import vit
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.networks.skip_init import build_on_meta
from deepnets.storage.graph_file import write_graphs
from deepnets.tracing.tracer import trace

# fmt: off
TORCHVISION74 = (
    "alexnet", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "densenet121", "densenet161",
    "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l",
    "efficientnet_v2_m", "efficientnet_v2_s", "googlenet", "inception_v3", "mnasnet0_5", "mnasnet0_75", "mnasnet1_0",
    "mnasnet1_3", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_16gf", "regnet_x_1_6gf",
    "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf", "regnet_y_16gf",
    "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf", "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf",
    "resnet101", "resnet152", "resnet18", "resnet34", "resnet50", "resnext101_32x8d", "resnext101_64x4d",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
    "squeezenet1_0", "squeezenet1_1", "swin_b", "swin_s", "swin_t", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16",
    "vgg16_bn", "vgg19", "vgg19_bn", "vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "wide_resnet101_2",
    "wide_resnet50_2",
)
"""Names in torchvision.models; frozen, so that results stay comparable."""
# fmt: on


def torchvision_model(name: str, num_classes: int = 1000) -> nn.Module:
    """Build a torchvision model, on the meta device unless it cannot be built there."""
    import torchvision

    factory: Callable[..., nn.Module] = getattr(torchvision.models, name)
    return build_on_meta(partial(factory, num_classes=num_classes))


def initialized_torchvision_model(name: str) -> nn.Module:
    """Build a torchvision model with its random initialization."""
    import torchvision

    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = getattr(torchvision.models, name)(**options)
    return model


def predefined_resnet50(image_size: int) -> nn.Module:
    """Build ResNet-50; on 32x32 inputs its first convolution is 3x3 with stride 1 and not followed by pooling."""
    import torchvision

    if image_size == 224:
        return initialized_torchvision_model("resnet50")
    model: nn.Module = torchvision.models.resnet50(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def predefined_vit(image_size: int) -> nn.Module:
    """Build the 12-layer Vision Transformer."""
    return vit().build(10 if image_size == 32 else 1000, image_size)


def predefined_model(name: str, image_size: int) -> nn.Module:
    """Build a predefined network, resnet50 or vit, with PyTorch's random initialization."""
    return {"resnet50": predefined_resnet50, "vit": predefined_vit}[name](image_size)


def _torchvision74(image_size: int) -> dict[str, Callable[[], nn.Module]]:
    return {name: partial(torchvision_model, name) for name in TORCHVISION74}


def _predefined(image_size: int) -> dict[str, Callable[[], nn.Module]]:
    builders = {"resnet50": predefined_resnet50, "vit": predefined_vit}
    return {name: partial(build_on_meta, partial(build, image_size)) for name, build in builders.items()}


_MODELS = {"torchvision74": _torchvision74, "predefined": _predefined}
"""Functions that return the models of a split by name, for an image size, which PyTorch-74 ignores."""


def traced_graphs(split: str, image_size: int = 32) -> dict[str, ArchGraph]:
    """Trace a split and return its graphs by the name of the model, with a progress bar.

    Raises:
        InputError: an image size other than 32 and 224.
    """
    check_image_size(image_size)
    models = _MODELS[split](image_size)
    size = image_size if split == "predefined" else None
    return {name: trace(build(), size) for name, build in tqdm(models.items(), desc=split, unit=" networks")}


def write_traced_split(path: Path, split: str, image_size: int, overwrite: bool) -> None:
    """Trace a split and write the file of its graphs.

    Args:
        path: the file, which is written after all graphs are traced.
        split: torchvision74 or predefined.
        image_size: 32 or 224; PyTorch-74 is always traced at 224.
        overwrite: replace an existing file.

    Raises:
        InputError: an image size other than 32 and 224.
        FileExistsError: the path exists and `overwrite` is False.
    """
    write_graphs(path, split, traced_graphs(split, image_size), overwrite)
