"""Draws synthetic pedestrians in the layout of Penn-Fudan, to try detection without downloading anything.

    python -m benchmarks.detection.synthetic_pedestrians FOLDER                  170 images of about 400x500 pixels
    python -m benchmarks.detection.synthetic_pedestrians FOLDER --num 16 --height 96

Figures with head, body and legs stand before noisy walls with windows, boards and poles, none of which is a pedestrian.
Every image is marked as synthetic, and so is every record. A seed gives the same images on any machine.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tyro.conf import Positional

from benchmarks.detection.penn_fudan import ENDING, IMAGES, MARK, MASKS
from deepnets.utils.command_line import run_command
from deepnets.utils.errors import InputError

Pixels = NDArray[np.float64]
Area = NDArray[np.bool_]


@dataclass(frozen=True)
class Synthetic:
    """Settings of the synthetic images.

    Args:
        folder: folder to write PNGImages and PedMasks to; these must not exist.
        num: number of images.
        height: average height of the images in pixels; Penn-Fudan has about 400.
        seed: seed of everything random; image i depends on it and on i alone.
    """

    folder: Positional[Path]
    num: int = 170
    height: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.num >= 2 and 32 <= self.height <= 4096 and self.seed >= 0):
            raise InputError("num must be 2 or more, height 32 to 4096, seed 0 or more")


def draw(options: Synthetic) -> None:
    """Draw all images and their masks.

    Raises:
        InputError: there are images already.
    """
    folders = [options.folder / IMAGES, options.folder / MASKS]
    for folder in folders:
        if folder.exists():
            raise InputError(f"{folder} exists; give a new folder")
    for folder in folders:
        folder.mkdir(parents=True)
    mark = PngInfo()
    mark.add_text(*MARK)
    for index in range(options.num):
        image, mask = scene(np.random.default_rng([options.seed, index]), options.height)
        name = f"Synthetic{index:05d}"
        Image.fromarray(image).save(folders[0] / f"{name}.png", pnginfo=mark)
        Image.fromarray(mask).save(folders[1] / f"{name}{ENDING}", pnginfo=mark)


def scene(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw an image and its mask.

    Args:
        rng: random numbers.
        size: height in pixels, of which it differs by up to a tenth.

    Shapes:
        (H, W, 3) and (H, W)
    """
    height, width = (round(size * share) for share in (rng.uniform(0.9, 1.1), rng.uniform(1.0, 1.5)))
    y, x = np.mgrid[0.5:height, 0.5:width]  # centers of pixels
    image = _background(rng, y, x)
    mask = np.zeros((height, width), np.uint8)
    count = int(rng.integers(1, 4))
    places = rng.permutation(4)[:count]  # side by side, so that nobody hides
    for number, place in enumerate(places, 1):
        tall = height * rng.uniform(0.45, 0.75)
        middle = width * (place + rng.uniform(0.35, 0.65)) / 4
        foot = rng.uniform(tall, height)
        for area, color in _figure(rng, y, x, middle, foot, tall, min(0.3 * tall, 0.22 * width)):
            image[area] = color
            mask[area] = number
    image += rng.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), mask


def _background(rng: np.random.Generator, y: Pixels, x: Pixels) -> Pixels:
    """Draw a wall that changes its color, a street, and things other than pedestrians."""
    height, width = y.shape
    ends = rng.uniform(90, 220, (2, 3))
    image: Pixels = ends[0] + (ends[1] - ends[0]) * (x / width)[..., None]  # (H, W, 3)
    image[y > height * rng.uniform(0.6, 0.8)] = rng.uniform(60, 130, 3)
    for _ in range(int(rng.integers(3, 7))):
        middle, center = rng.uniform(0, width), rng.uniform(0, height)
        half = rng.uniform(0.03, 0.12, 2) * height
        if rng.random() < 0.3:
            half = np.array([0.5, 0.01]) * height  # a pole
        image[(abs(y - center) < half[0]) & (abs(x - middle) < half[1])] = rng.uniform(20, 240, 3)
    return image


def _figure(
    rng: np.random.Generator, y: Pixels, x: Pixels, middle: float, foot: float, tall: float, wide: float
) -> list[tuple[Area, Pixels]]:
    """Return the areas of legs, body and head with their colors, from below."""
    up = (foot - y) / tall  # 0 at the feet, 1 at the top of the head
    side = (x - middle) / wide  # -0.5 to 0.5
    apart = rng.uniform(0.1, 0.3)
    legs = (up > 0) & (up < 0.5) & (abs(abs(side) - apart * (1 - up)) < 0.13)
    body = (side / 0.5) ** 2 + ((up - 0.63) / 0.22) ** 2 < 1
    head = ((x - middle) / tall / 0.07) ** 2 + ((up - 0.92) / 0.08) ** 2 < 1
    colors = (rng.uniform(10, 90, 3), rng.uniform(20, 250, 3), np.array([205.0, 160, 130]) * rng.uniform(0.4, 1.1))
    return list(zip((legs, body, head), colors, strict=True))


def main() -> int:
    """Run the command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    options = tyro.cli(Synthetic, prog="python -m benchmarks.detection.synthetic_pedestrians", description=__doc__)
    draw(options)
    print(f"{options.num} synthetic images in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
