"""Batches of images: chosen, shifted and mirrored or cut to squares, normalized.

Random numbers come from NumPy on the CPU, so that they are the same for images on any device and in any process.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import current_process
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = tuple[Tensor, Tensor]
"""Images (B, 3, size, size), normalized, and labels (B,)."""
Labels = NDArray[np.int64]

_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
_CUTS = 10  # tries, as in torchvision


class ImageError(ValueError):
    """Images that are missing or cannot be read; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class ImagePart:
    """Images of one purpose, whose batches come on one device: `StoredImages` or `ImageFiles`.

    Args:
        labels: (N,) int64.
        mean, std: (3,) of the training images, 0 to 1.
        size: height and width of the images in batches.
    """

    labels: Tensor
    mean: Tensor
    std: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Self:
        """The same images on a device."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)

    def resized(self, size: int) -> Self:
        """The same images in another size."""
        return replace(self, size=size)

    def steps(self, batch_size: int) -> int:
        """Number of training batches in an epoch: full ones, or a single one if there are fewer images."""
        return max(1, len(self) // batch_size)

    def batches(self, batch_size: int = 64) -> Iterator[Batch]:
        """All images in order; the last batch may be smaller."""
        return self._read(torch.arange(len(self)), None, batch_size)

    def shuffled(
        self, batch_size: int, seed: int, epoch: int, start: int = 0, crop: int = 0, flip: bool = False
    ) -> Iterator[Batch]:
        """Training batches of an epoch, in which an image comes at most once; they depend on seed and epoch alone.

        Args:
            batch_size: number of images; those that are left at the end of the epoch are not used.
            seed, epoch: decide the order, and how images are augmented.
            start: the first batch, to go on in the middle of an epoch.
            crop: shift images by up to so many pixels of those stored; if not 0, images in files are cut at random.
            flip: mirror half of them.
        """
        rng = np.random.default_rng([seed, epoch])
        order = torch.from_numpy(rng.permutation(len(self)))
        # Drawn for the whole epoch, so that it can be entered anywhere.
        draws = self._draws(len(self), rng, crop, flip) if crop or flip else None
        rows = slice(start * batch_size, self.steps(batch_size) * batch_size)
        return self._read(order[rows], None if draws is None else draws[rows], batch_size)

    def sample(self, count: int, rng: np.random.Generator, crop: int = 0, flip: bool = False) -> Batch:
        """A random training batch.

        Args:
            count: number of images, drawn with replacement.
            rng: decides which, and how they are augmented.
            crop, flip: as in `shuffled`.
        """
        chosen = torch.from_numpy(rng.integers(len(self), size=count))
        return next(self._read(chosen, self._draws(count, rng, crop, flip) if crop or flip else None, count))

    def few(self, per_class: int, seed: int = 0, skip: int = 0) -> Self:
        """The same number of images of each class.

        Args:
            per_class: how many.
            seed: decides which; fewer with the same seed are among them.
            skip: leave out those that `few(skip, seed)` gives.

        Raises:
            ImageError: a class does not have so many.
        """
        labels = self.labels.cpu().numpy()
        rank, sizes = ranks(labels, np.random.default_rng(seed).permutation(len(labels)))
        if not 1 <= per_class <= sizes.min() - skip:
            raise ImageError(f"{per_class} images of each class are asked for; accepted: 1 to {sizes.min() - skip}")
        return self._select(torch.from_numpy(np.flatnonzero((rank >= skip) & (rank < skip + per_class))))

    def sha256(self) -> str | None:
        """Digest of pixels and labels; none for images in files, which take too long to read."""
        return None

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 to floats with the mean and the deviation of the training images, in the size of batches."""
        floats = (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]
        return floats if floats.shape[-1] == self.size else F.interpolate(floats, self.size, mode="bilinear")

    def _draws(self, count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
        """How each image is augmented, in a form that `_read` understands."""
        raise NotImplementedError

    def _read(self, chosen: Tensor, draws: Tensor | None, batch_size: int) -> Iterator[Batch]:
        raise NotImplementedError

    def _select(self, rows: Tensor) -> Self:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class StoredImages(ImagePart):
    """Images in memory.

    Args:
        images: (N, 3, H, H) uint8; enlarged batch by batch if `size` is more.
    """

    images: Tensor

    def resized(self, size: int) -> Self:
        """The same images in another size."""
        return replace(self, size=size, images=resize(self.images, min(size, self.images.shape[-1])))

    def sha256(self) -> str:
        """Digest of pixels and labels."""
        digest = hashlib.sha256(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().numpy().data)
        return digest.hexdigest()

    def _draws(self, count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
        return draw_moves(count, rng, crop, flip)

    def _read(self, chosen: Tensor, draws: Tensor | None, batch_size: int) -> Iterator[Batch]:
        chosen = chosen.to(self.labels.device)
        moves = None if draws is None else draws.to(self.labels.device)
        for start in range(0, len(chosen), batch_size):
            rows = slice(start, start + batch_size)
            images = self.images[chosen[rows]]
            yield self.normalized(images if moves is None else move(images, moves[rows])), self.labels[chosen[rows]]

    def _select(self, rows: Tensor) -> Self:
        rows = rows.to(self.labels.device)
        return replace(self, labels=self.labels[rows], images=self.images[rows])


@dataclass(frozen=True, eq=False)
class ImageFiles(ImagePart):
    """Images in files, of any size.

    Args:
        paths: (N,) encoded names of files; processes share the memory of an array, but not of a list of texts.
        workers: processes that read them, or threads for a single batch.
    """

    paths: NDArray[np.bytes_]
    workers: int

    def _draws(self, count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
        seeds = rng.integers(2**63, size=count) if crop else np.full(count, -1)
        return torch.from_numpy(np.stack([seeds, rng.random(count) < (0.5 if flip else 0)], 1))

    def _read(self, chosen: Tensor, draws: Tensor | None, batch_size: int) -> Iterator[Batch]:
        if not len(chosen):
            return
        device = self.labels.device
        photos = _Photos(self.paths[chosen.numpy()], self.size, draws)
        batches: Iterable[Tensor | ImageError] = DataLoader(
            photos,
            batch_size,
            num_workers=0 if current_process().daemon else self.workers,  # workers of Dask may not start processes
            collate_fn=_together,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or else it takes numbers from the generator of the process
        )
        if len(photos) <= batch_size:  # processes would take longer to start than to read
            with ThreadPoolExecutor(max(1, self.workers)) as pool:
                batches = [_together(list(pool.map(photos.__getitem__, range(len(photos)))))]
        for images, labels in zip(_loaded(batches), self.labels[chosen.to(device)].split(batch_size), strict=True):
            if isinstance(images, ImageError):
                raise images
            yield self.normalized(images.to(device, non_blocking=True)), labels

    def _select(self, rows: Tensor) -> Self:
        return replace(self, labels=self.labels[rows.to(self.labels.device)], paths=self.paths[rows.numpy()])


def _loaded(batches: Iterable[Tensor | ImageError]) -> Iterator[Tensor | ImageError]:
    """Batches; a process that was killed, or has no shared memory, says nothing of the network that waits for them."""
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ImageError(f"images cannot be read ({' '.join(str(error).split())})") from None


def _together(photos: Sequence[Tensor | ImageError]) -> Tensor | ImageError:
    """(B, 3, size, size), or what is wrong with one of them: errors raised in a process come with all of its stack."""
    damaged = [photo for photo in photos if isinstance(photo, ImageError)]
    return damaged[0] if damaged else torch.stack([photo for photo in photos if isinstance(photo, Tensor)])


class _Photos(Dataset[Tensor | ImageError]):
    """(3, size, size) uint8 of each file, or what is wrong with it.

    Draws are (N, 2): seed of a random cut or -1 for the centre, mirrored.
    """

    def __init__(self, paths: NDArray[np.bytes_], size: int, draws: Tensor | None) -> None:
        self.paths, self.size, self.draws = paths, size, draws

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor | ImageError:
        path = os.fsdecode(self.paths[index])
        try:
            image = opened(path, path)
        except ImageError as error:
            return error
        seed, mirrored = (-1, False) if self.draws is None else self.draws[index].tolist()
        if seed < 0:
            square = centre_square(image, self.size, shorter=self.size * 8 // 7)  # 224 of 256 pixels, as is usual
        else:
            square = random_square(image, self.size, np.random.default_rng(seed))
        return pixels(square).flip(2) if mirrored else pixels(square)


def ranks(labels: Labels, order: Labels) -> tuple[Labels, Labels]:
    """(N,) place of each image among those of its class in the given order, and their number."""
    sorted_rows = np.lexsort((np.argsort(order), labels))
    sizes = np.bincount(labels)
    places = np.empty_like(sorted_rows)
    places[sorted_rows] = np.arange(len(labels)) - (np.cumsum(sizes) - sizes)[labels[sorted_rows]]
    return places, sizes[labels]


def opened(file: Any, name: str, size: int | None = None) -> Image.Image:
    """An image in colour.

    Raises:
        ImageError: it is damaged, or does not have the given size.
    """
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if size is None or image.size == (size, size):
                return image.convert("RGB")
            found = "x".join(map(str, image.size))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name} is no image, or a damaged one ({error})") from None
    raise ImageError(f"{name} has {found} pixels; it must have {size}x{size}")


def pixels(image: Image.Image) -> Tensor:
    """(3, height, width) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def resize(images: Tensor, size: int) -> Tensor:
    """(N, C, H, W) uint8 to (N, C, size, size), bilinear, smoothed before it gets smaller."""
    if images.shape[-2:] == (size, size):
        return images.contiguous()
    smaller = size < images.shape[-1]
    resized = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=smaller).round().clamp(0, 255).byte()
        for part in images.split(4096)
    ]
    return torch.cat(resized)


def draw_moves(count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
    """(count, 3): how far the window moves down and right, and whether it is mirrored.

    Args:
        count: number of images.
        rng: decides.
        crop: shift by up to so many pixels.
        flip: mirror half of them.
    """
    moves = np.zeros((count, 3), np.int64)
    if crop:
        moves[:, :2] = rng.integers(2 * crop + 1, size=(count, 2)) - crop
    if flip:
        moves[:, 2] = rng.random(count) < 0.5
    return torch.from_numpy(moves)


def move(images: Tensor, moves: Tensor) -> Tensor:
    """Images shifted, with reflected borders, and mirrored, in one pass; shifts must be smaller than the images.

    Shapes:
        images (N, C, H, H), moves (N, 3) on the same device -> (N, C, H, H)
    """
    size = images.shape[-1]
    line = torch.arange(size, device=images.device)
    rows = _reflected(moves[:, :1] + line, size)  # (N, H)
    columns = _reflected(moves[:, 1:2] + line, size)
    columns = torch.where(moves[:, 2:] > 0, columns.flip(1), columns)
    source = (rows[:, :, None] * size + columns[:, None, :]).flatten(1)  # (N, H H)
    return images.flatten(2).gather(2, source[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def _reflected(index: Tensor, size: int) -> Tensor:
    return size - 1 - (size - 1 - index.abs()).abs()


def centre_square(image: Image.Image, size: int, shorter: int) -> Image.Image:
    """The shorter side resized to `shorter`, and the centre of size x size pixels cut out."""
    scale = shorter / min(image.size)
    width, height = (max(shorter, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def random_square(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A random part of the image, resized to size x size.

    The distribution is that of torchvision's RandomResizedCrop (8% to 100% of the area, sides 3:4 to 4:3; Szegedy et
    al., 2014), which takes its random numbers from the generator of the process.
    """
    return image.resize((size, size), Image.Resampling.BILINEAR, box=_random_box(*image.size, rng))


def _random_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(_CUTS):
        area, ratio = width * height * rng.uniform(0.08, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    # A long image: all of it that has a permitted shape.
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
