"""Resizing, cropping, shifting and mirroring of images.

Random numbers come from NumPy on the CPU, so that they are the same for images on any device and in any process.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_MAX_TRIES = 10  # as in torchvision


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images bilinearly, with antialiasing if they get smaller.

    Shapes:
        (N, C, H, W) uint8 -> (N, C, size, size) uint8
    """
    if images.shape[-2:] == (size, size):
        return images.contiguous()
    smaller = size < images.shape[-1]
    resized = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=smaller).round().clamp(0, 255).byte()
        for part in images.split(4096)
    ]
    return torch.cat(resized)


def sample_shifts(count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
    """Sample how far the window of each image moves down and right, and whether it is mirrored.

    Args:
        count: number of images.
        rng: source of randomness.
        crop: largest shift, in pixels.
        flip: mirror half of the images.

    Returns:
        (count, 3): pixels down, pixels to the right, mirrored (0 or 1).
    """
    shifts = np.zeros((count, 3), np.int64)
    if crop:
        shifts[:, :2] = rng.integers(2 * crop + 1, size=(count, 2)) - crop
    if flip:
        shifts[:, 2] = rng.random(count) < 0.5
    return torch.from_numpy(shifts)


def shift_and_mirror(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift images, with reflected borders, and mirror them, in one pass.

    Args:
        images: (N, C, H, H).
        shifts: (N, 3) from `sample_shifts`, on the same device; each below H pixels.

    Returns:
        (N, C, H, H).
    """
    size = images.shape[-1]
    positions = torch.arange(size, device=images.device)
    rows = _reflect(shifts[:, :1] + positions, size)  # (N, H)
    columns = _reflect(shifts[:, 1:2] + positions, size)
    columns = torch.where(shifts[:, 2:] > 0, columns.flip(1), columns)
    source = (rows[:, :, None] * size + columns[:, None, :]).flatten(1)  # (N, H H)
    return images.flatten(2).gather(2, source[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Map positions outside of 0 to size - 1 to their mirror images inside."""
    return size - 1 - (size - 1 - index.abs()).abs()


def center_square(image: Image.Image, size: int, shorter: int) -> Image.Image:
    """Resize an image so that its shorter side is `shorter`, and crop size x size pixels from the center."""
    scale = shorter / min(image.size)
    width, height = (max(shorter, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def random_square(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """Crop a random part of an image and resize it to size x size.

    The distribution is that of torchvision's RandomResizedCrop (8% to 100% of the area, sides 3:4 to 4:3; Szegedy et
    al., 2014), which takes its random numbers from the generator of the process.
    """
    return image.resize((size, size), Image.Resampling.BILINEAR, box=_random_box(*image.size, rng))


def _random_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(_MAX_TRIES):
        area, ratio = width * height * rng.uniform(0.08, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    # The image is too long or too high: take the largest permitted part of its center.
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
