"""Pictures of noise, and what tests of images share."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ghn_models.images.splits import ImageSplit, StoredImages


def stored(part: ImageSplit) -> StoredImages:
    assert isinstance(part, StoredImages)
    return part


def picture(seed: int, width: int = 32, height: int = 32, mode: str = "RGB") -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode)


def equal(a: Iterator[tuple[Tensor, Tensor]], b: Iterator[tuple[Tensor, Tensor]]) -> bool:
    return all(torch.equal(x, y) and torch.equal(m, n) for (x, m), (y, n) in zip(a, b, strict=True))
