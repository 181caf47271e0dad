"""Published accuracies of trained networks, by which scores are judged: names, and the value of one network.

    published          PyTorch-74: ImageNet accuracy of torchvision's weights; trained architectures: their target
    sgd_1ep            PyTorch-74: ImageNet top-1 after 1 epoch (GHN-3 paper, Table 19)
    cifar10_sgd_50ep   published DeepNets-1M: CIFAR-10 top-1 after 50 epochs (DeepNets paper, section C.2.3)
    imagenet_sgd_1ep   published DeepNets-1M: ImageNet top-5 after 1 epoch (GHN-3 paper, Table 19)

Splits of trained architectures have the names of all of their columns too.
"""

import math
from functools import cache

import pandas as pd

from benchmarks.core.evaluation_networks import EvaluationNetwork, split_of
from benchmarks.published_results.per_network import accuracy, load, values
from deepnets.sampling.splits import SPACE_SPLITS
from deepnets.utils.errors import InputError

PUBLISHED = "published"
TORCHVISION = "torchvision74"
DEEPNETS_SPLITS = ("val", "test", "wide", "deep", "dense", "bnfree")
_TORCHVISION_PROTOCOLS = {PUBLISHED: "sota", "sgd_1ep": "sgd_1ep"}
_DEEPNETS_TABLES = {"cifar10_sgd_50ep": ("cifar10", "sgd_50ep", 32, 10)}
_DEEPNETS_TABLES |= {"imagenet_sgd_1ep": ("imagenet", "sgd_1ep", 224, 1000)}
"""Table and protocol of the published results, and what the networks were built for."""


def truth_names(group: str, from_files: bool = False) -> tuple[str, ...]:
    """Return the names of the published truths of a group of networks; empty if there are none.

    Args:
        group: its name.
        from_files: its networks are read from files, which may have the published ones.
    """
    split = split_of(group)
    if split in SPACE_SPLITS:
        from deepnets.spaces.registry import get_space

        return (PUBLISHED, *get_space(split).truth().names)
    if split == TORCHVISION or split in _torchvision_names():
        return tuple(_TORCHVISION_PROTOCOLS)
    return tuple(_DEEPNETS_TABLES) if from_files and split in DEEPNETS_SPLITS else ()


def is_truth_name(name: str) -> bool:
    """Return whether any group has a published truth of this name."""
    groups = (TORCHVISION, "test", *SPACE_SPLITS)
    return any(name in truth_names(group, from_files=True) for group in groups)


def published_truth(truth: str, network: EvaluationNetwork) -> float:
    """Return the published truth of a network.

    Raises:
        InputError: there is none.
    """
    if network.split in SPACE_SPLITS:
        value = _space_truth(truth, network)
    elif network.split in DEEPNETS_SPLITS:
        value = float(_deepnets_truths(truth).get((network.split, network.place_in_split), math.nan))
    else:
        value = float(_torchvision_truths(_TORCHVISION_PROTOCOLS[truth]).get(network.name, math.nan))
    if math.isnan(value):
        raise InputError(f"there is no published {truth} of it")
    return value


def check_is_published(truth: str, network: EvaluationNetwork) -> None:
    """Check that a network of DeepNets-1M is the published one, by its number of parameters.

    Raises:
        InputError: it has another number of parameters.
    """
    if network.split not in DEEPNETS_SPLITS:
        return
    table, _, image_size, classes = _DEEPNETS_TABLES[truth]
    architecture = network.architecture(image_size)
    assert architecture is not None  # it is of DeepNets-1M
    own, published = architecture.num_params(image_size, classes), int(_published_params(table)[network_key(network)])
    if own != published:
        raise InputError(f"it is not the published network: it has {own} parameters, that one {published}")


def network_key(network: EvaluationNetwork) -> tuple[str, int]:
    """Return split and index, by which published results are known."""
    return network.split, network.place_in_split


def _space_truth(truth: str, network: EvaluationNetwork) -> float:
    from deepnets.spaces.registry import get_space

    space = get_space(network.split)
    return float(space.truth().column(space.target if truth == PUBLISHED else truth)[network.place_in_split])


@cache
def _deepnets_truths(truth: str) -> dict[tuple[str, int], float]:
    table, protocol, *_ = _DEEPNETS_TABLES[truth]
    return dict(accuracy(table, "RANDINIT", protocol=protocol).items())


@cache
def _published_params(table: str) -> dict[tuple[str, int], float]:
    return dict(values(table, "params").items())


@cache
def _torchvision_truths(protocol: str) -> pd.Series:
    """Return ImageNet accuracies by the name of the network."""
    table = load(TORCHVISION)
    return table[(table["method"] == "RANDINIT") & (table["protocol"] == protocol)].set_index("arch")["top1"]


@cache
def _torchvision_names() -> frozenset[str]:
    return frozenset(load(TORCHVISION)["arch"])
