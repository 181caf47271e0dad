"""Detectors of torchvision: lists of images, and in training what is to be found in them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from deepnets.tracing.inputs.arguments import BATCH, Arguments
from deepnets.tracing.inputs.facts import Facts

_SIZE = 224
_NARROW = 96


def detection_calls(facts: Facts) -> Iterator[Arguments]:
    """Provide a list of images: one where that is enough, since detectors compute with numbers."""
    transform = getattr(facts.model, "transform", None)
    if not {"images", "targets"} <= facts.forward.keys() or not hasattr(transform, "image_mean"):
        return
    height, width = _image_size(transform)
    count = 1 if hasattr(transform, "max_size") and height != width else BATCH
    images = [torch.empty(3, height, width, dtype=facts.dtype, device="meta") for _ in range(count)]
    targets = [_target(facts, height, width) for _ in range(count)]
    yield (images, targets) if facts.model.training else (images,), {}


def _image_size(transform: Any) -> tuple[int, int]:
    """Return a size that the detector does not enlarge: a strip as long as it allows."""
    longest = getattr(transform, "max_size", None)
    if getattr(transform, "fixed_size", None) is not None or not isinstance(longest, int):
        return _SIZE, _SIZE
    return min(_NARROW, longest), longest


def _target(facts: Facts, height: int, width: int) -> dict[str, Tensor]:
    """Return one object: its box, class, mask and keypoints."""
    target = {
        "boxes": torch.tensor([[8, 8, width // 2, height // 2]], dtype=facts.dtype),
        "labels": torch.ones(1, dtype=torch.long),
    }
    heads = getattr(facts.model, "roi_heads", None)
    if getattr(heads, "mask_predictor", None) is not None:
        target["masks"] = torch.ones(1, height, width, dtype=torch.uint8)
    predictor = getattr(heads, "keypoint_predictor", None)
    if predictor is not None:
        target["keypoints"] = torch.full((1, predictor.kps_score_lowres.out_channels, 3), 10, dtype=facts.dtype)
    return target
