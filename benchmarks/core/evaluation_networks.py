"""Evaluation networks in groups: splits of DeepNets-1M and of trained architectures, PyTorch-74, and single ones.

Networks of splits of trained architectures come in a fixed random order, so that the first ones are a random sample.
SPLIT/INDEX is a single network of a split. Networks of DeepNets-1M are sampled, or read from a folder of files such as
`deepnets import` makes, which has the published networks. Names with + between them, resnet50+resnet101, are an
ensemble of single networks. The command line imports this module for the names of groups, so it imports torch only to
build a network.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from deepnets.design_space.named_architectures import darts, darts_cifar, pdarts_cifar, vit
from deepnets.sampling.splits import SPACE_SPLITS, SPLITS
from deepnets.utils.errors import InputError, unknown_choice

if TYPE_CHECKING:
    from torch import nn

    from deepnets import ArchGraph, Architecture
    from deepnets.sampling.sampler import Networks
    from deepnets.storage.network_file import NetworkFile

GLOBAL_RNG_LOCK = threading.RLock()
"""Lock around PyTorch's global random numbers. Hold it while building a network: another thread may build the next."""
EVALUATION_SPLITS = ("test", "wide", "deep", "dense", "bnfree")
PREDEFINED = ("resnet50", "vit")
"""The predefined networks of the DeepNets paper (section 3): ResNet-50 of torchvision, and a 12-layer ViT."""
_ARCHITECTURES = {"vit": vit, "darts": darts, "darts_cifar": darts_cifar, "pdarts_cifar": pdarts_cifar}
_BLOCK = 100
_INCEPTION_SIZE = 299


@dataclass(frozen=True)
class EvaluationNetwork:
    """A network to evaluate.

    Args:
        group: split, torchvision74, predefined, or the name of a single network.
        index: place in the group.
        name: for a network of a split SPLIT/INDEX, with its index in `DeepNets1M` (splits of trained architectures are
            evaluated in a random order); otherwise the name of the network, or NAME+NAME for an ensemble.
        folder: folder of the files that networks of DeepNets-1M are read from; None to sample them.
    """

    group: str
    index: int
    name: str
    folder: str | None = None

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
        if self.split in SPACE_SPLITS:
            return _build_trained(self.split, self.place_in_split, num_classes)
        architecture = self.architecture(image_size)
        if architecture is None:
            return torchvision_network(self.name, image_size, num_classes), None
        with nullcontext() if initialize else SkipInit():
            model = architecture.build(num_classes, image_size)
        return model, symbolic_graph(architecture, image_size, num_classes)

    @property
    def split(self) -> str:
        """The split that it is of, also as a single network; else the name of the group."""
        return split_of(self.group)

    @property
    def place_in_split(self) -> int:
        """Index in the data set of the split."""
        return int(self.name.rpartition("/")[2])

    def input_size(self, image_size: int) -> int:
        """Return the height and width of its images in a run of this image size.

        Inception v3 was made for 299 pixels, where others have 224, and is evaluated with them (GHN-3 paper, Table 20).
        """
        return _INCEPTION_SIZE if self.name == "inception_v3" and image_size == 224 else image_size

    def architecture(self, image_size: int) -> Architecture | None:
        """Return the architecture with its evaluation width; None for networks of torchvision."""
        if self.split in SPLITS and self.folder is not None:
            return open_split(self.folder, self.split, image_size).architecture(self.place_in_split)
        if self.split in SPLITS:
            block, place = divmod(self.place_in_split, _BLOCK)
            return _sampled_block(self.split, block).architectures(image_size)[place]
        return _ARCHITECTURES[self.name]() if self.name in _ARCHITECTURES else None


def _build_trained(split: str, row: int, num_classes: int) -> tuple[nn.Module, ArchGraph | None]:
    """Build an architecture of a split of trained ones, and its graph unless that has to be traced."""
    from deepnets.spaces.chain import chain_graph
    from deepnets.spaces.registry import get_space

    space = get_space(split)
    key = space.truth().keys[row]
    graph = None if space.chain is None else chain_graph(space.chain(key, num_classes))
    return space.build(key, num_classes), graph


def split_of(group: str) -> str:
    """Return the split of a group of networks; a group that is no split is its own.

    >>> split_of("test/3"), split_of("resnet50")
    ('test', 'resnet50')
    """
    return group.partition("/")[0]


@cache
def open_split(folder: str, split: str, image_size: int) -> NetworkFile:
    """Open the file of a split of DeepNets-1M.

    Raises:
        InputError: it is missing or damaged, or holds another split.
    """
    from deepnets.datasets.generation import split_path
    from deepnets.storage.network_file import NetworkFile, open_graphs

    path = split_path(folder, split, image_size)
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; deepnets import makes such files of the published networks, and deepnets "
            "generate of sampled ones"
        )
    file = open_graphs(path, image_size)
    if not isinstance(file, NetworkFile) or file.header.split != split:
        raise InputError(f"{path} holds the split {file.header.split!r}, not {split!r}")
    return file


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
    split, slash, place = group.partition("/")
    if slash and split in (*SPLITS, *SPACE_SPLITS):
        if not place.isdecimal() or place != str(int(place)) or int(place) >= split_size(split):
            raise InputError(f"there is no network {group}; accepted: {split}/0 to {split}/{split_size(split) - 1}")
        return
    if group not in groups and not {*single, *TORCHVISION74}.issuperset(group.split("+")):
        raise InputError(
            unknown_choice(
                "networks",
                group,
                ("all", *groups, *single),
                "one of PyTorch-74, as resnet50, one of a split, as test/3, and ensembles, as resnet50+resnet101",
            )
        )


def split_size(split: str) -> int:
    """Return the number of networks of a split."""
    if split in SPLITS:
        return SPLITS[split].size
    from deepnets.spaces.registry import get_space

    return len(get_space(split).truth())


def network_at(group: str, index: int, folder: str | None = None) -> EvaluationNetwork:
    """Return one network of a group.

    Args:
        group: its name.
        index: place in the group.
        folder: folder of files with networks of DeepNets-1M; None to sample them.

    >>> network_at("test", 3).name
    'test/3'
    """
    check_group(group)
    return EvaluationNetwork(group, index, _names(group)[index], folder)


def networks_in(group: str, num: int | None = None, folder: str | None = None) -> list[EvaluationNetwork]:
    """Return the networks of a group, or the first `num` of them if it has more.

    Args:
        group: its name.
        num: how many.
        folder: folder of files with networks of DeepNets-1M, which may have fewer than the split; None to sample them.

    Raises:
        InputError: an unknown group, num below 1, or a file that is missing or damaged.
    """
    check_group(group)
    if num is not None and not num >= 1:
        raise InputError(f"num is {num}; it must be 1 or more")
    names = _names(group)
    if folder is not None and split_of(group) in SPLITS:
        size = len(open_split(folder, split_of(group), 32))
        if group in SPLITS:
            names = names[:size]
        elif int(group.partition("/")[2]) >= size:
            raise InputError(f"there is no network {group} in {folder}, which has {size} of {split_of(group)}")
    return [EvaluationNetwork(group, index, name, folder) for index, name in enumerate(names[:num])]


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
