"""Decoding of image files."""

from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepnets.utils.errors import InputError

_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")


class ImageError(InputError):
    """Images are missing or cannot be read; the message is one sentence for the user."""


def open_rgb(file: str | Path | IO[bytes], name: str, size: int | None = None) -> Image.Image:
    """Decode an image and convert it to RGB.

    Args:
        file: path or content of the file.
        name: name of the file, for messages.
        size: the height and width that the image must have; by default any.

    Raises:
        ImageError: the image is damaged, or does not have the required size.
    """
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if size is None or image.size == (size, size):
                return image.convert("RGB")
            actual = "x".join(map(str, image.size))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name} is not an image, or is damaged ({error})") from None
    raise ImageError(f"{name} has {actual} pixels; it must have {size}x{size}")


def pixels(image: Image.Image) -> Tensor:
    """Return the (3, height, width) uint8 pixels of an RGB image."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
