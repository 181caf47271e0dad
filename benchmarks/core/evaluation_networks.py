"""Evaluation networks in groups: splits of DeepNets-1M and of trained architectures, PyTorch-74, and single ones.

Networks of splits of trained architectures come in a fixed random order, so that the first ones are a random sample.
Names with + between them, resnet50+resnet101, are an ensemble of single networks. The command line imports this module
for the names of groups, so it imports torch only to build a network.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from deepnets.design_space.named_architectures import darts, vit
from deepnets.sampling.splits import SPACE_SPLITS, SPLITS
from deepnets.utils.errors import InputError, unknown_choice

if TYPE_CHECKING:
    from torch import nn

    from deepnets import ArchGraph, Architecture
    from deepnets.sampling.sampler import Networks

GLOBAL_RNG_LOCK = threading.RLock()
"""Lock around PyTorch's global random numbers. Hold it while building a network: another thread may build the next."""
EVALUATION_SPLITS = ("test", "wide", "deep", "dense", "bnfree")
PREDEFINED = ("resnet50", "vit")
"""The predefined networks of the DeepNets paper (section 3): ResNet-50 of torchvision, and a 12-layer ViT."""
_ARCHITECTURES = {"vit": vit, "darts": darts}
_BLOCK = 100


@dataclass(frozen=True)
class EvaluationNetwork:
    """A network to evaluate.

    Args:
        group: split, torchvision74, predefined, or the name of a single network.
        index: place in the group.
        name: for a network of a split SPLIT/INDEX, with its index in `DeepNets1M` (splits of trained architectures are
            evaluated in a random order); otherwise the name of the network, or NAME+NAME for an ensemble.
    """

    group: str
    index: int
    name: str

    def build(self, image_size: int, num_classes: int, initialize: bool = True) -> tuple[nn.Module, ArchGraph | None]:
        """Build the network with PyTorch's random initialization.

        Args:
            image_size: height and width of its inputs.
            num_classes: number of outputs.
            initialize: False skips the initialization of DeepNets-1M networks, which takes half of the time; their
                parameters are arbitrary then.

        Returns:
            The network, and its graph; None if the graph has to be traced.
        """
        from benchmarks.core.ensemble import Ensemble
        from benchmarks.core.torchvision_networks import torchvision_network
        from deepnets.networks.skip_init import SkipInit
        from deepnets.symbolic.builder import symbolic_graph

        if "+" in self.name:
            members = [EvaluationNetwork(name, 0, name) for name in self.name.split("+")]
            return Ensemble([member.build(image_size, num_classes)[0] for member in members]), None
        if self.group in SPACE_SPLITS:
            return _build_trained(self.group, self.place_in_split, num_classes)
        architecture = self.architecture(image_size)
        if architecture is None:
            return torchvision_network(self.name, image_size, num_classes), None
        with nullcontext() if initialize else SkipInit():
            model = architecture.build(num_classes, image_size)
        return model, symbolic_graph(architecture, image_size, num_classes)

    @property
    def place_in_split(self) -> int:
        """Index in the data set of the split."""
        return int(self.name.rpartition("/")[2])

    def architecture(self, image_size: int) -> Architecture | None:
        """Return the architecture with its evaluation width; None for networks of torchvision."""
        if self.group in SPLITS:
            block, place = divmod(self.index, _BLOCK)
            return _sampled_block(self.group, block).architectures(image_size)[place]
        return _ARCHITECTURES[self.name]() if self.name in _ARCHITECTURES else None


def _build_trained(split: str, row: int, num_classes: int) -> tuple[nn.Module, ArchGraph | None]:
    """Build an architecture of a split of trained ones, and its graph unless that has to be traced."""
    from deepnets.spaces.chain import chain_graph
    from deepnets.spaces.registry import get_space

    space = get_space(split)
    key = space.truth().keys[row]
    graph = None if space.chain is None else chain_graph(space.chain(key, num_classes))
    return space.build(key, num_classes), graph


def group_label(group: str) -> str:
    """Return the name of a group in tables.

    >>> group_label("nasbench301")
    'nasbench301 (surrogate)'
    """
    return f"{group} (surrogate)" if group == "nasbench301" else group


def check_group(group: str) -> None:
    """Raise InputError if there is no group of networks of this name."""
    from deepnets.datasets.traced_splits import TORCHVISION74
    from deepnets.networks.torchvision_variants import VARIANTS

    groups, single = (*SPLITS, *SPACE_SPLITS, "torchvision74", "predefined"), (*_ARCHITECTURES, *VARIANTS)
    if group not in groups and not {*single, *TORCHVISION74}.issuperset(group.split("+")):
        raise InputError(
            unknown_choice(
                "networks",
                group,
                ("all", *groups, *single),
                "one of PyTorch-74, as resnet50, and ensembles of these, as resnet50+resnet101",
            )
        )


def network_at(group: str, index: int) -> EvaluationNetwork:
    """Return one network of a group.

    >>> network_at("test", 3).name
    'test/3'
    """
    check_group(group)
    return EvaluationNetwork(group, index, _names(group)[index])


def networks_in(group: str, num: int | None = None) -> list[EvaluationNetwork]:
    """Return the networks of a group, or the first `num` of them if it has more.

    Raises:
        InputError: an unknown group, or num below 1.
    """
    check_group(group)
    if num is not None and not num >= 1:
        raise InputError(f"num is {num}; it must be 1 or more")
    return [EvaluationNetwork(group, index, name) for index, name in enumerate(_names(group)[:num])]


@lru_cache(8)
def _sampled_block(split: str, block: int) -> Networks:
    """Return a block of a split: sampling one network takes as long as sampling tens of them."""
    from deepnets.sampling.sampler import sample_networks

    return sample_networks(split, block * _BLOCK, min(SPLITS[split].size, (block + 1) * _BLOCK))


@cache
def _names(group: str) -> tuple[str, ...]:
    from deepnets.datasets.traced_splits import TORCHVISION74

    if group in SPLITS:
        return tuple(f"{group}/{index}" for index in range(SPLITS[group].size))
    if group in SPACE_SPLITS:
        return tuple(f"{group}/{row}" for row in _random_order(group))
    return {"torchvision74": TORCHVISION74, "predefined": PREDEFINED}.get(group, (group,))


def _random_order(split: str) -> list[int]:
    """Return the networks of a split in a fixed random order: neighbors in a split resemble each other."""
    import numpy as np

    from deepnets.spaces.registry import get_space

    order: list[int] = np.random.default_rng(0).permutation(len(get_space(split).truth())).tolist()
    return order
