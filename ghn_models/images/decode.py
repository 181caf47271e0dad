"""Decoding of image files."""

from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepnets.utils.errors import InputError

_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa")
"""Pixels of at most 8 bits in each channel; Pillow clips larger ones to 255 when it converts them."""
_MAX_RATIO = 100  # of the sides; resized to a square's height, longer images would not fit into memory


class ImageError(InputError):
    """Images are missing or cannot be read; the message is one sentence for the user."""


def open_rgb(file: str | Path | IO[bytes], name: str, size: int | None = None) -> Image.Image:
    """Decode an image and convert it to RGB.

    Args:
        file: path or content of the file.
        name: name of the file, for messages.
        size: the height and width that the image must have; by default any.

    Raises:
        ImageError: the image is damaged, has more than 8 bits in a channel, or does not have the required size.
    """
    try:
        with Image.open(file, formats=_FORMATS) as image:
            problem = _find_problem(image, size)
            if not problem:
                return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name} is not an image, or is damaged ({error})") from None
    raise ImageError(f"{name} {problem}")


def _find_problem(image: Image.Image, size: int | None) -> str:
    """Return why an image cannot be used, or an empty text."""
    sides = "x".join(map(str, image.size))
    if image.mode not in _MODES:
        return f"has pixels of the kind {image.mode}; accepted: at most 8 bits in each channel"
    if size is not None and image.size != (size, size):
        return f"has {sides} pixels; it must have {size}x{size}"
    if max(image.size) > _MAX_RATIO * min(image.size):
        return f"has {sides} pixels; one side may be at most {_MAX_RATIO} times the other"
    return ""


def pixels(image: Image.Image) -> Tensor:
    """Return the (3, height, width) uint8 pixels of an RGB image."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
