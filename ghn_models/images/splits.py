"""Image splits (train, val, test), in memory or in files, and their batches: sampled, augmented, normalized."""

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
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ghn_models.images.augment import center_square, random_square, resize, sample_shifts, shift_and_mirror
from ghn_models.images.decode import ImageError, open_rgb, pixels

Batch = tuple[Tensor, Tensor]
"""Images (B, 3, size, size), normalized, and labels (B,)."""
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Labelled images of one split of a data set: `StoredImages` or `ImageFiles`.

    Args:
        labels: (N,) int64.
        mean, std: (3,) of the channels of the training images, whose values are from 0 to 1.
        size: height and width of the images in batches.
    """

    labels: Tensor
    mean: Tensor
    std: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Self:
        """Return the split with its tensors on a device, where its batches will be."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)

    def resized(self, size: int) -> Self:
        """Return the split with images of another size."""
        return replace(self, size=size)

    def steps(self, batch_size: int) -> int:
        """Return the number of training batches in an epoch: full ones, or a single one if there are fewer images."""
        return max(1, len(self) // batch_size)

    def batches(self, batch_size: int = 64) -> Iterator[Batch]:
        """Yield batches of all images in order; the last batch may be smaller."""
        return self._read(torch.arange(len(self)), None, batch_size)

    def shuffled(
        self, batch_size: int, seed: int, epoch: int, start: int = 0, crop: int = 0, flip: bool = False
    ) -> Iterator[Batch]:
        """Yield the training batches of an epoch, which depend on seed and epoch alone; an image comes at most once.

        Args:
            batch_size: images in a batch; a smaller last batch is left out.
            seed, epoch: decide the order and the augmentation.
            start: number of the first batch, to resume in the middle of an epoch.
            crop: stored images are shifted by up to so many of their pixels; images in files are cropped at random
                unless it is 0.
            flip: mirror half of the images.
        """
        rng = np.random.default_rng([seed, epoch])
        order = torch.from_numpy(rng.permutation(len(self)))
        # For the whole epoch, so that it can be resumed at any batch.
        augmentation = self._sample_augmentation(len(self), rng, crop, flip) if crop or flip else None
        rows = slice(start * batch_size, self.steps(batch_size) * batch_size)
        return self._read(order[rows], None if augmentation is None else augmentation[rows], batch_size)

    def sample(self, count: int, rng: np.random.Generator, crop: int = 0, flip: bool = False) -> Batch:
        """Sample a random training batch.

        Args:
            count: number of images, sampled with replacement.
            rng: source of randomness, for the choice and the augmentation.
            crop, flip: as in `shuffled`.
        """
        rows = torch.from_numpy(rng.integers(len(self), size=count))
        augmentation = self._sample_augmentation(count, rng, crop, flip) if crop or flip else None
        return next(self._read(rows, augmentation, count))

    def class_balanced_subset(self, per_class: int, seed: int = 0, skip: int = 0) -> Self:
        """Return a random subset with the same number of images of each class.

        Args:
            per_class: images of each class.
            seed: seed of the choice; a smaller subset of the same seed is part of a larger one.
            skip: leave out the images of `class_balanced_subset(skip, seed)`.

        Raises:
            ImageError: a class has fewer images.
        """
        labels = self.labels.cpu().numpy()
        rank, sizes = rank_within_class(labels, np.random.default_rng(seed).permutation(len(labels)))
        if not 1 <= per_class <= sizes.min() - skip:
            raise ImageError(f"{per_class} images of each class are asked for; accepted: 1 to {sizes.min() - skip}")
        return self._select(torch.from_numpy(np.flatnonzero((rank >= skip) & (rank < skip + per_class))))

    def sha256(self) -> str | None:
        """Return the digest of pixels and labels, or None for images in files, which take too long to read."""
        return None

    def normalized(self, images: Tensor) -> Tensor:
        """Convert uint8 images to normalized floats in the size of batches."""
        floats = (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]
        return floats if floats.shape[-1] == self.size else F.interpolate(floats, self.size, mode="bilinear")

    def _sample_augmentation(self, count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
        """Sample how each image is augmented: one row for each image, which `_read` understands."""
        raise NotImplementedError

    def _read(self, rows: Tensor, augmentation: Tensor | None, batch_size: int) -> Iterator[Batch]:
        """Yield batches of the given rows."""
        raise NotImplementedError

    def _select(self, rows: Tensor) -> Self:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class StoredImages(ImageSplit):
    """Images in memory.

    Args:
        images: (N, 3, H, H) uint8; enlarged batch by batch if `size` is larger than H.
    """

    images: Tensor

    def resized(self, size: int) -> Self:
        """Return the split with images of another size."""
        return replace(self, size=size, images=resize(self.images, min(size, self.images.shape[-1])))

    def sha256(self) -> str:
        """Return the digest of pixels and labels."""
        digest = hashlib.sha256(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().numpy().data)
        return digest.hexdigest()

    def _sample_augmentation(self, count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
        return sample_shifts(count, rng, crop, flip)

    def _read(self, rows: Tensor, augmentation: Tensor | None, batch_size: int) -> Iterator[Batch]:
        rows = rows.to(self.labels.device)
        shifts = None if augmentation is None else augmentation.to(self.labels.device)
        for start in range(0, len(rows), batch_size):
            batch = slice(start, start + batch_size)
            images = self.images[rows[batch]]
            images = images if shifts is None else shift_and_mirror(images, shifts[batch])
            yield self.normalized(images), self.labels[rows[batch]]

    def _select(self, rows: Tensor) -> Self:
        rows = rows.to(self.labels.device)
        return replace(self, labels=self.labels[rows], images=self.images[rows])


@dataclass(frozen=True, eq=False)
class ImageFiles(ImageSplit):
    """Images in files, of any size.

    Args:
        paths: (N,) encoded names of the files; processes share the memory of an array, but not that of a list of str.
        workers: processes that read the files, or threads for a single batch.
    """

    paths: NDArray[np.bytes_]
    workers: int

    def _sample_augmentation(self, count: int, rng: np.random.Generator, crop: int, flip: bool) -> Tensor:
        seeds = rng.integers(2**63, size=count) if crop else np.full(count, -1)
        return torch.from_numpy(np.stack([seeds, rng.random(count) < (0.5 if flip else 0)], 1))

    def _read(self, rows: Tensor, augmentation: Tensor | None, batch_size: int) -> Iterator[Batch]:
        if not len(rows):
            return
        device = self.labels.device
        photos = _Photos(self.paths[rows.numpy()], self.size, augmentation)
        batches: Iterable[Tensor | ImageError] = DataLoader(
            photos,
            batch_size,
            num_workers=0 if current_process().daemon else self.workers,  # workers of Dask may not start processes
            collate_fn=_stack_or_error,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # by default it would advance the global generator
        )
        if len(photos) <= batch_size:  # processes would take longer to start than to read
            with ThreadPoolExecutor(max(1, self.workers)) as pool:
                batches = [_stack_or_error(list(pool.map(photos.__getitem__, range(len(photos)))))]
        labels = self.labels[rows.to(device)].split(batch_size)
        for images, targets in zip(_explain_dead_workers(batches), labels, strict=True):
            if isinstance(images, ImageError):
                raise images
            yield self.normalized(images.to(device, non_blocking=True)), targets

    def _select(self, rows: Tensor) -> Self:
        return replace(self, labels=self.labels[rows.to(self.labels.device)], paths=self.paths[rows.numpy()])


def _explain_dead_workers(batches: Iterable[Tensor | ImageError]) -> Iterator[Tensor | ImageError]:
    """Yield batches; raise ImageError if a worker process was killed or had too little shared memory."""
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ImageError(f"images cannot be read ({' '.join(str(error).split())})") from None


def _stack_or_error(photos: Sequence[Tensor | ImageError]) -> Tensor | ImageError:
    """Stack (B, 3, size, size) images, or return the error of one: raised in a worker, it would carry a traceback."""
    damaged = [photo for photo in photos if isinstance(photo, ImageError)]
    return damaged[0] if damaged else torch.stack([photo for photo in photos if isinstance(photo, Tensor)])


class _Photos(Dataset[Tensor | ImageError]):
    """The (3, size, size) uint8 image of each file, or the error of a damaged one.

    Args:
        paths: (N,) encoded names of the files.
        size: height and width of the images.
        augmentation: (N, 2): seed of a random crop, or -1 for the center; mirrored (0 or 1).
    """

    def __init__(self, paths: NDArray[np.bytes_], size: int, augmentation: Tensor | None) -> None:
        self.paths, self.size, self.augmentation = paths, size, augmentation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor | ImageError:
        path = os.fsdecode(self.paths[index])
        try:
            image = open_rgb(path, path)
        except ImageError as error:
            return error
        seed, mirrored = (-1, False) if self.augmentation is None else self.augmentation[index].tolist()
        if seed < 0:
            square = center_square(image, self.size, shorter=self.size * 8 // 7)  # 224 of 256 pixels, as is usual
        else:
            square = random_square(image, self.size, np.random.default_rng(seed))
        return pixels(square).flip(2) if mirrored else pixels(square)


def rank_within_class(labels: Labels, order: Labels) -> tuple[Labels, Labels]:
    """Rank each image among those of its class.

    Args:
        labels: (N,).
        order: (N,) permutation of the images, which decides the ranks.

    Returns:
        (N,) ranks from 0, and (N,) sizes of the images' classes.

    >>> rank_within_class(np.array([0, 1, 0]), order=np.array([2, 1, 0]))
    (array([1, 0, 0]), array([2, 1, 2]))
    """
    sorted_rows = np.lexsort((np.argsort(order), labels))
    sizes = np.bincount(labels)
    rank = np.empty_like(sorted_rows)
    rank[sorted_rows] = np.arange(len(labels)) - (np.cumsum(sizes) - sizes)[labels[sorted_rows]]
    return rank, sizes[labels]
