"""Photographs with a mask of every pedestrian, for object detection: Penn-Fudan (Wang et al., 2007), or its stand-in.

    FOLDER/PNGImages/NAME.png          170 photographs
    FOLDER/PedMasks/NAME_mask.png      of the same size, one channel: pixels of pedestrian k are k, all others 0

Penn-Fudan is PennFudanPed.zip of the University of Pennsylvania. `python -m benchmarks.detection.synthetic_pedestrians
FOLDER` draws a stand-in of the same layout. Its images are marked, so that it is never taken for Penn-Fudan.
"""

import hashlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects
from torch import Tensor

from deepnets.utils.errors import unknown_choice
from ghn_models.images.decode import ImageError, open_rgb, pixels

PENN_FUDAN, SYNTHETIC = "pennfudan", "synthetic_pedestrians"
IMAGES, MASKS, ENDING = "PNGImages", "PedMasks", "_mask.png"
MARK = ("Source", SYNTHETIC)
"""Key and value of the text in each PNG file of the stand-in."""
_PENN_FUDAN_IMAGES = 170
_TEST_IMAGES = 50  # of 170, as in the tutorial that the papers follow
_MASK_MODES = ("1", "L", "P", "I", "I;16")


@dataclass(frozen=True, eq=False)
class Scene:
    """A photograph and its pedestrians.

    Args:
        image: (3, H, W) uint8.
        boxes: (P, 4) float32, left, top, right and bottom edge in pixels.
    """

    image: Tensor
    boxes: Tensor

    def to(self, device: torch.device | str) -> "Scene":
        """Return the scene on a device."""
        return Scene(self.image.to(device), self.boxes.to(device))


@dataclass(frozen=True, eq=False)
class PedestrianTask:
    """Detection of pedestrians.

    Args:
        name: pennfudan or synthetic_pedestrians.
        scenes: photographs in the order of their files.
        sha256: hash of pixels and boxes.
    """

    name: str
    scenes: tuple[Scene, ...]
    sha256: str

    @property
    def num_classes(self) -> int:
        """Number of classes: pedestrian and background."""
        return 2

    def to(self, device: torch.device | str) -> "PedestrianTask":
        """Return the task on a device."""
        return replace(self, scenes=tuple(scene.to(device) for scene in self.scenes))

    def resized(self, size: int) -> "PedestrianTask":
        """Return the same task: the detector resizes photographs."""
        return self

    def hashes(self) -> dict[str, str | None]:
        """Return the sha256 by part of the data, for records.

        Train and test are sampled from the same images, so their hashes are equal; that of val is None.
        """
        return {"train": self.sha256, "val": None, "test": self.sha256}

    def split(self, seed: int) -> tuple[list[Scene], list[Scene]]:
        """Return random scenes to train on and to test on: 120 and 50 of 170, the same share of fewer."""
        count = len(self.scenes)
        held_out = min(_TEST_IMAGES, max(1, count * _TEST_IMAGES // _PENN_FUDAN_IMAGES))
        order = np.random.default_rng([seed, 0]).permutation(count)
        train, test = np.split(order, [count - held_out])
        return [self.scenes[i] for i in train], [self.scenes[i] for i in test]


def load_pedestrians(name: str, data_dir: str | Path | None, image_size: int) -> PedestrianTask:
    """Load Penn-Fudan or its stand-in, whichever the folder has: images of the stand-in are marked as such.

    Args:
        name: pennfudan accepts both; synthetic_pedestrians accepts the stand-in only.
        data_dir: folder with PNGImages and PedMasks.
        image_size: unused, because photographs keep their sizes; other loaders of tasks need it.

    Raises:
        ImageError: an unknown name, files that are missing or do not fit together, or no pycocotools.
    """
    if name not in (PENN_FUDAN, SYNTHETIC):
        raise ImageError(unknown_choice("pedestrians", name, (PENN_FUDAN, SYNTHETIC)))
    if find_spec("pycocotools") is None:
        raise ImageError("detection needs pycocotools, which is not installed: pip install 'deepnets1m[detection]'")
    if data_dir is None:
        raise ImageError(f"the images of {name} need the folder that {IMAGES} and {MASKS} are in (--data-dir)")
    folder = Path(data_dir).expanduser()
    pairs = _pairs(folder)
    marked = [_is_marked(image) for image, _ in pairs]
    if any(marked) != all(marked):
        raise ImageError(f"{folder} has {sum(marked)} synthetic images among {len(marked)}; it must have one kind")
    actual = SYNTHETIC if all(marked) else PENN_FUDAN
    if actual == PENN_FUDAN and (name != actual or len(pairs) != _PENN_FUDAN_IMAGES):
        wanted = f"the {_PENN_FUDAN_IMAGES} of Penn-Fudan" if name == PENN_FUDAN else "those of the stand-in"
        raise ImageError(f"{folder} has {len(pairs)} images that are not {wanted}")
    if len(pairs) < 2:
        raise ImageError(f"{folder} has 1 image; it must have 2 or more, to train and to test")
    scenes = tuple(_scene(image, mask) for image, mask in pairs)
    return PedestrianTask(actual, scenes, _sha256(scenes))


def boxes_of(mask: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the smallest box around each pedestrian of a mask, in the order of their numbers.

    Edges are those of pixels: a pedestrian of one pixel has a box of one by one.

    Shapes:
        (H, W) -> (P, 4), left, top, right and bottom edge
    """
    slices = [box for box in find_objects(mask) if box is not None]
    edges = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in slices]
    return np.array(edges, np.float32).reshape(-1, 4)


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return the files of each image and its mask, by name."""
    for part in (folder, folder / IMAGES, folder / MASKS):
        if not part.is_dir():
            raise ImageError(f"{part} is not a folder; pedestrians are in {IMAGES}/NAME.png and {MASKS}/NAME{ENDING}")
    images = {path.stem: path for path in (folder / IMAGES).glob("*.png")}
    masks = {path.name.removesuffix(ENDING): path for path in (folder / MASKS).glob(f"*{ENDING}")}
    if not images:
        raise ImageError(f"{folder / IMAGES} has no images (*.png)")
    alone = min(images.keys() ^ masks.keys(), default=None)
    if alone is not None:
        exists, missing = (images[alone], MASKS) if alone in images else (masks[alone], IMAGES)
        wanted = f"{missing}/{alone}{ENDING}" if missing == MASKS else f"{missing}/{alone}.png"
        raise ImageError(f"{exists} has no {wanted} beside it")
    return [(images[name], masks[name]) for name in sorted(images)]


def _is_marked(path: Path) -> bool:
    """Return whether an image says that it is synthetic."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.info.get(MARK[0]) == MARK[1]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} is not a PNG image, or is damaged ({error})") from None


def _scene(image_path: Path, mask_path: Path) -> Scene:
    image, mask = pixels(open_rgb(image_path, str(image_path))), _mask(mask_path)
    if mask.shape != image.shape[1:]:
        sizes = [f"{width}x{height}" for height, width in (mask.shape, image.shape[1:])]
        raise ImageError(f"{mask_path} has {sizes[0]} pixels, and its image {sizes[1]}; they must be of one size")
    boxes = boxes_of(mask)
    if not len(boxes):
        raise ImageError(f"{mask_path} has no pedestrian: all its pixels are 0")
    return Scene(image.contiguous(), torch.from_numpy(boxes))


def _mask(path: Path) -> NDArray[np.int64]:
    """Read a mask (H, W) of the numbers of pedestrians."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode in _MASK_MODES:
                return np.array(image).astype(np.int64)
            mode = image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} is not a PNG image, or is damaged ({error})") from None
    raise ImageError(f"{path} is a mask of mode {mode}; it must have one channel, the numbers of pedestrians")


def _sha256(scenes: tuple[Scene, ...]) -> str:
    digest = hashlib.sha256()
    for scene in scenes:
        digest.update(f"{tuple(scene.image.shape)} {scene.boxes.tolist()}".encode())
        digest.update(scene.image.numpy().tobytes())
    return digest.hexdigest()
