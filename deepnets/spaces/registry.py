"""The spaces by name: their published measurements, graphs and networks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepnets.spaces import nasbench101, nasbench201, nasbench301, nasbench_macro, timm_weights
from deepnets.spaces.chain import Chain
from deepnets.spaces.tables import Truth
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Space:
    """A space of trained architectures.

    Args:
        title: its name in the literature.
        license: source and license of the measurements.
        truth: function that returns the measurements of all architectures.
        target: the column of the measurements that rankings are compared with.
        chain: function of an architecture's key and the number of classes; returns the network as blocks, of which the
            graph is built. None if the network has to be traced.
        build: function of the same arguments; returns the network as a torch module.
        image_size: height and width of the images; None if they differ.
        num_classes: outputs of the classifiers of the trained networks.
    """

    title: str
    license: str
    truth: Callable[[], Truth]
    target: str
    chain: Callable[[str, int], Chain] | None
    build: Callable[[str, int], "nn.Module"]
    image_size: int | None = 32
    num_classes: int = 10


def _build_nasbench101(key: str, num_classes: int) -> "nn.Module":
    from deepnets.spaces.networks.nasbench101 import NASBench101Network

    return NASBench101Network(nasbench101.cell_from_key(key), num_classes)


def _build_nasbench201(key: str, num_classes: int) -> "nn.Module":
    from deepnets.spaces.networks.nasbench201 import NASBench201Network

    return NASBench201Network(key, num_classes)


def _build_nasbench301(key: str, num_classes: int) -> "nn.Module":
    from deepnets.spaces.networks.nasbench301 import NASBench301Network

    return NASBench301Network(nasbench301.Genotype301.from_text(key), num_classes)


def _build_nasbench_macro(key: str, num_classes: int) -> "nn.Module":
    from deepnets.spaces.networks.nasbench_macro import NASBenchMacroNetwork

    return NASBenchMacroNetwork(key, num_classes)


def _build_timm(key: str, num_classes: int) -> "nn.Module":
    from deepnets.tracing.model_loader import timm_model

    return timm_model(key, num_classes)


SPACES: dict[str, Space] = {
    "nasbench101": Space(
        title="NAS-Bench-101",
        license="NAS-Bench-Suite-Zero (automl/NASLib), Apache-2.0",
        truth=nasbench101.nasbench101_truth,
        target="cifar10_val",
        chain=lambda key, num_classes: nasbench101.nasbench101_chain(nasbench101.cell_from_key(key), num_classes),
        build=_build_nasbench101,
    ),
    "nasbench201": Space(
        title="NAS-Bench-201",
        license="NAS-Bench-201 / NATS-Bench, MIT",
        truth=nasbench201.nasbench201_truth,
        target="cifar10_test",
        chain=nasbench201.nasbench201_chain,
        build=_build_nasbench201,
    ),
    "nasbench301": Space(
        title="NAS-Bench-301 (surrogate)",
        license="NAS-Bench-Suite-Zero (automl/NASLib), Apache-2.0",
        truth=nasbench301.nasbench301_truth,
        target="cifar10_val_surrogate",
        chain=lambda key, num_classes: nasbench301.nasbench301_chain(
            nasbench301.Genotype301.from_text(key), num_classes
        ),
        build=_build_nasbench301,
    ),
    "nasbench_macro": Space(
        title="NAS-Bench-Macro",
        license="NAS-Bench-Macro (xiusu/NAS-Bench-Macro), Apache-2.0",
        truth=nasbench_macro.nasbench_macro_truth,
        target="cifar10_test",
        chain=nasbench_macro.nasbench_macro_chain,
        build=_build_nasbench_macro,
    ),
    "timm": Space(
        title="timm",
        license="timm (huggingface/pytorch-image-models), Apache-2.0",
        truth=timm_weights.timm_truth,
        target="imagenet_top1",
        chain=None,
        build=_build_timm,
        image_size=None,
        num_classes=1000,
    ),
}


def get_space(name: str) -> Space:
    """Return a space.

    Raises:
        InputError: no space has this name.
    """
    if name not in SPACES:
        raise InputError(f"unknown space {name!r}; choose from {', '.join(SPACES)}")
    return SPACES[name]
