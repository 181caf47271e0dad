"""All models of torchvision, and one of timm for each name that a list of timm starts with."""

import re
from collections.abc import Callable
from functools import partial

from torch import nn

from deepnets.networks.skip_init import build_on_meta
from deepnets.tracing.model_loader import timm_model, torchvision_model

Factories = dict[str, Callable[[], nn.Module]]


def torchvision_models() -> Factories:
    """Return all models of torchvision: images, detection, segmentation, video, optical flow, quantization."""
    import torchvision

    return {name: partial(_torchvision, name) for name in torchvision.models.list_models()}


def _torchvision(name: str) -> nn.Module:
    """Build a model on the meta device, or with numbers if it reads them."""
    reads_numbers = any(word in name for word in ("rcnn", "retinanet", "fcos", "ssd"))
    return torchvision_model(name) if reads_numbers else build_on_meta(partial(torchvision_model, name))


def timm_models(every: bool = False) -> Factories:
    """Return models of timm on the meta device, where they can be built there.

    Args:
        every: all architectures, instead of the first with each beginning of a name: resnet50 stands for resnet101.
    """
    import timm

    names = timm.list_models()
    firsts = {_family(name): name for name in reversed(names)}
    return {name: partial(_timm, name) for name in (names if every else sorted(firsts.values()))}


def _family(name: str) -> str:
    return re.split(r"\d|_", name)[0] + "".join(re.findall(r"_[a-z]{4,}", name))


def _timm(name: str) -> nn.Module:
    return build_on_meta(partial(timm_model, name))
