"""The networks that models are evaluated on, in groups: splits of DeepNets-1M, PyTorch-74, single networks by name.

Names with + between them, resnet50+resnet101, are an ensemble of single networks.
"""

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from torch import nn

from benchmarks.core.ensemble import Ensemble
from deepnets import ArchGraph, Architecture, symbolic_graph
from deepnets.datasets.traced_splits import TORCHVISION74
from deepnets.design_space.named_architectures import darts, vit
from deepnets.networks.skip_init import SkipInit
from deepnets.networks.torchvision_variants import VARIANTS
from deepnets.sampling.sampler import Networks, sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.utils.errors import unknown_choice

GLOBAL_RNG_LOCK = threading.RLock()
"""Belongs to whoever builds a network with random numbers of the process; another thread may build the next one."""
EVALUATION_SPLITS = ("test", "wide", "deep", "dense", "bnfree")
PREDEFINED = ("resnet50", "vit")
"""The predefined networks of the DeepNets paper (section 3): ResNet-50 of torchvision, and a 12-layer ViT."""
_ARCHITECTURES = {"vit": vit, "darts": darts}
_BLOCK = 100


@dataclass(frozen=True)
class EvaluationNetwork:
    """A network to evaluate.

    Args:
        group: what it is one of.
        index: its place in the group.
        name: what it is called.
    """

    group: str
    index: int
    name: str

    def build(self, image_size: int, num_classes: int, initialize: bool = True) -> tuple[nn.Module, ArchGraph | None]:
        """The network with PyTorch's random initialisation, and its graph unless it has to be traced.

        Args:
            image_size: of its inputs.
            num_classes: outputs.
            initialize: if not, the parameters of networks of DeepNets-1M are arbitrary, which saves half of the time.
        """
        if "+" in self.name:
            names = self.name.split("+")
            return Ensemble(
                [EvaluationNetwork(name, 0, name).build(image_size, num_classes)[0] for name in names]
            ), None
        architecture = self.architecture(image_size)
        if architecture is None:
            return torchvision_network(self.name, image_size, num_classes), None
        with nullcontext() if initialize else SkipInit():
            model = architecture.build(num_classes, image_size)
        return model, symbolic_graph(architecture, image_size, num_classes)

    def architecture(self, image_size: int) -> Architecture | None:
        """What the network is built from, with its evaluation width; None for networks of torchvision."""
        if self.group in SPLITS:
            block, place = divmod(self.index, _BLOCK)
            networks = _sampled(self.group, block)
            return networks.architectures(image_size)[place]
        return _ARCHITECTURES[self.name]() if self.name in _ARCHITECTURES else None


def check_group(group: str) -> None:
    """Raise ValueError if there are no such networks."""
    groups, single = (*SPLITS, "torchvision74", "predefined"), (*_ARCHITECTURES, *VARIANTS)
    known = {*single, *TORCHVISION74}
    if group not in groups and not known.issuperset(group.split("+")):
        raise ValueError(
            unknown_choice(
                "networks",
                group,
                ("all", *groups, *single),
                "one of PyTorch-74, as resnet50, and ensembles of these, as resnet50+resnet101",
            )
        )


def network_at(group: str, index: int) -> EvaluationNetwork:
    """One network of a group."""
    check_group(group)
    return EvaluationNetwork(group, index, _names(group)[index])


def networks_in(group: str, num: int | None = None) -> list[EvaluationNetwork]:
    """The networks of a group, or the first `num` of them if it has more.

    Raises:
        ValueError: an unknown group, or num below 1.
    """
    check_group(group)
    if num is not None and not num >= 1:
        raise ValueError(f"num is {num}; it must be 1 or more")
    return [EvaluationNetwork(group, index, name) for index, name in enumerate(_names(group)[:num])]


@lru_cache(8)
def _sampled(split: str, block: int) -> Networks:
    """A block of a split: sampling one network takes as long as sampling tens of them."""
    return sample_networks(split, block * _BLOCK, min(SPLITS[split].size, (block + 1) * _BLOCK))


@cache
def _names(group: str) -> tuple[str, ...]:
    if group in SPLITS:
        return tuple(f"{group}/{index}" for index in range(SPLITS[group].size))
    return tuple({"torchvision74": TORCHVISION74, "predefined": PREDEFINED}.get(group, (group,)))


def torchvision_network(name: str, image_size: int, num_classes: int) -> nn.Module:
    """A network of torchvision, or a variant of one; on images of 32 pixels its first layers keep the resolution.

    As for ResNet-50 in the DeepNets paper (section 3), the first convolution of residual and dense networks, ConvNeXt
    and Swin gets 3x3 kernels and stride 1, and a pooling layer right behind it goes. Vision Transformers get patches
    of 4x4 pixels. Other families stay as they are.
    """
    network = VARIANTS[name](num_classes) if name in VARIANTS else _of_torchvision(name, image_size, num_classes)
    if image_size == 32:
        _keep_resolution(network, name)
    return network


def _of_torchvision(name: str, image_size: int, num_classes: int) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if image_size == 32 and name.startswith("vit_"):
        options |= {"image_size": 8 * int(name.rsplit("_")[-1])}  # 8x8 patches
    network: nn.Module = getattr(torchvision.models, name)(num_classes=num_classes, **options)
    return network


def _keep_resolution(network: Any, name: str) -> None:
    if name.startswith(("resnet", "resnext", "wide_resnet")):
        network.conv1, network.maxpool = _small(network.conv1), nn.Identity()
    elif name.startswith("densenet"):
        features = network.features
        features.conv0, features.pool0 = _small(features.conv0), nn.Identity()
    elif name.startswith(("convnext", "swin")):
        network.features[0][0] = _small(network.features[0][0])
    elif hasattr(network, "set_patches"):
        network.set_patches(32, 4, nn.Conv2d(3, network.hidden_dim, 4, stride=4))
    elif name.startswith("vit"):
        network.image_size, network.patch_size = 32, 4
        network.conv_proj = nn.Conv2d(3, network.hidden_dim, 4, stride=4)


def _small(convolution: nn.Conv2d) -> nn.Conv2d:
    """A convolution of the same width that sees 3x3 pixels and keeps the resolution."""
    return nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1, bias=convolution.bias is not None)
