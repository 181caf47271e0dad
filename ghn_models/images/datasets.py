"""Image classification data for training and evaluation.

    load_images("digits")                             the real 8x8 digits inside of scikit-learn, no download
    load_images("cifar10", data_dir="data")           CIFAR-10 or CIFAR-100: torchvision's files, train/CLASS/*.png and
                                                      test/CLASS/*.png, or cifar10_png.tar.xz; the same images
    load_images("fashion_mnist", data_dir="data")     torchvision's files
    load_images("imagenet", data_dir="imagenet")      train/WNID/*.JPEG and val/WNID/*.JPEG
    load_images("folder", data_dir="my_images")       train/CLASS/*.jpg and test/CLASS/*.jpg (or val/)

Small data sets are one uint8 tensor, moved to the device once, where batches are drawn, augmented and normalized
together. Images of large ones are read from their files by worker processes. The validation part is held out of the
training images, the same on every machine.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from deepnets.utils.errors import unknown_choice
from ghn_models.images import cifar
from ghn_models.images.splits import (
    ImageError,
    ImageFiles,
    ImagePart,
    Labels,
    StoredImages,
    centre_square,
    opened,
    pixels,
    ranks,
    resize,
)
from ghn_models.images.torchvision_files import read_torchvision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_IMAGENET_HELD_OUT = 50_000  # DeepNets paper, section 5
_STORED_BYTES = 2**30  # larger folders are read image by image


@dataclass(frozen=True, eq=False)
class ImageTask:
    """An image classification task.

    Args:
        name: of the data set.
        classes: names of the classes.
        train, val, test: its images; val is held out of the published training images.
        flip: mirrored images are of the same class.
    """

    name: str
    classes: tuple[str, ...]
    train: ImagePart
    val: ImagePart
    test: ImagePart
    flip: bool

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Height and width of the images."""
        return self.train.size

    def to(self, device: torch.device | str) -> "ImageTask":
        """The same task on a device."""
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))

    def hashes(self) -> dict[str, str | None]:
        """sha256 of each part, for records of results."""
        return {"train": self.train.sha256(), "val": self.val.sha256(), "test": self.test.sha256()}


@dataclass(frozen=True)
class _Request:
    name: str
    data_dir: Path | None
    size: int
    workers: int

    def folder(self) -> Path:
        """Where the images are.

        Raises:
            ImageError: there is no such folder.
        """
        if self.data_dir is None:
            raise ImageError(f"the images of {self.name} need the folder that they are in (--data-dir)")
        if not self.data_dir.is_dir():
            raise ImageError(f"{self.data_dir} is no folder; give the one that the images of {self.name} are in")
        return self.data_dir


_READERS: dict[str, Callable[[_Request], ImageTask]] = {}


def _reader(*names: str) -> Callable[[Callable[[_Request], ImageTask]], Callable[[_Request], ImageTask]]:
    def register(function: Callable[[_Request], ImageTask]) -> Callable[[_Request], ImageTask]:
        _READERS.update(dict.fromkeys(names, function))
        return function

    return register


def data_sets() -> list[str]:
    """Names that `load_images` accepts."""
    return list(_READERS)


def load_images(
    name: str,
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    workers: int = 4,
) -> ImageTask:
    """An image classification task.

    Args:
        name: one of `data_sets()`.
        data_dir: where its files are; digits need none.
        image_size: images are resized to this; by default 32, and 224 for imagenet.
        workers: processes or threads that read images in files.

    Raises:
        ImageError: an unknown name, or files that are missing or damaged.
    """
    if name not in _READERS:
        raise ImageError(unknown_choice("image data set", name, _READERS))
    size = usual_image_size(name) if image_size is None else image_size
    if size < 8:
        raise ImageError(f"image_size is {size}; it must be 8 or more")
    return _READERS[name](_Request(name, None if data_dir is None else Path(data_dir), size, workers))


def usual_image_size(name: str) -> int:
    """Side of the images of a data set if nothing else is said."""
    return 224 if name == "imagenet" else 32


@_reader("digits")
def _digits(request: _Request) -> ImageTask:
    """1,797 handwritten digits of 8x8 pixels (UCI, E. Alpaydin and C. Kaynak), 300 of them each for val and test."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(np.round(data.images * (255 / 16)).astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
    rest, test = _held_out(data.target, np.arange(len(data.target)), 300)
    split = [*_held_out(data.target, rest, 300), test]
    return _stored(request, tuple("0123456789"), resize(images, min(request.size, 32)), data.target, split, flip=False)


@_reader(*cifar.NAMES)
def _cifar(request: _Request) -> ImageTask:
    """CIFAR as torchvision or PNG files; a tenth of the training images of each class is held out.

    It is not the held-out part of the papers, the last tenth in the published order, which PNG files do not tell.
    """
    found = cifar.read_cifar(request.name, request.folder())
    rows = np.arange(len(found.labels))
    train, test = rows[: found.num_train], rows[found.num_train :]
    split = [*_held_out(found.labels, train, len(train) // 10), test]
    return _stored(request, found.classes, found.images, found.labels, split, flip=True)


@_reader("fashion_mnist")
def _fashion_mnist(request: _Request) -> ImageTask:
    """torchvision's files, with black borders of 2 pixels; the last tenth of the training images is held out."""
    classes, arrays, targets = read_torchvision(request.name, "FashionMNIST", request.folder())
    images = torch.cat([F.pad(part[:, None].expand(-1, 3, -1, -1), (2,) * 4) for part in arrays])
    labels, published = np.concatenate(targets), len(targets[0])
    split = np.split(np.arange(len(labels)), [published - published // 10, published])
    return _stored(request, classes, images, labels, split, flip=False)


@_reader("imagenet")
def _imagenet(request: _Request) -> ImageTask:
    """ILSVRC 2012 in folders: the published validation images are the test part, 50,000 others are held out.

    torchvision.datasets.ImageNet makes such folders of the published archives.
    """
    classes, files, labels, split = _folders(request, ("val",))
    if len(classes) != 1000:
        raise ImageError(f"{request.data_dir} has {len(classes)} classes, and ImageNet has 1000; its name is 'folder'")
    return _filed(request, classes, files, labels, _mixed(labels, split, _IMAGENET_HELD_OUT))


@_reader("folder")
def _image_folder(request: _Request) -> ImageTask:
    """Any images; if there is only one of the folders test and val, it is the test part, and a tenth is held out."""
    classes, files, labels, split = _folders(request, ("val", "test"))
    split = _mixed(labels, split, max(len(classes), len(split[0]) // 10))
    size = request.size
    if len(files) * 3 * size**2 > _STORED_BYTES:
        return _filed(request, classes, files, labels, split)

    def square(file: str) -> Image.Image:
        return centre_square(opened(file, file), size, shorter=size)

    with ThreadPoolExecutor(max(1, request.workers)) as pool:
        images = _stack(pool.map(square, files), len(files), size)
    return _stored(request, classes, images, labels, split, flip=True)


def _folders(request: _Request, others: tuple[str, ...]) -> tuple[tuple[str, ...], list[str], Labels, list[Labels]]:
    """Classes, files and their labels, and which files are in train and in each of the others that exist."""
    from torchvision.datasets import ImageFolder

    folder = request.folder()
    found = ["train", *(other for other in others if (folder / other).is_dir())]
    wanted = f"images in train/CLASS/ and {' or '.join(f'{other}/CLASS/' for other in others)}"
    if len(found) == 1:
        how = "; torchvision.datasets.ImageNet unpacks its archives so" if request.name == "imagenet" else ""
        raise ImageError(f"{folder} must have {wanted}{how}")
    try:
        parts = [ImageFolder(str(folder / name)) for name in found]
    except OSError as error:
        raise ImageError(f"{folder} must have {wanted} ({str(error).splitlines()[0]})") from None
    for name, part in zip(found, parts, strict=True):
        if part.classes != parts[0].classes:
            odd = min(set(part.classes) ^ set(parts[0].classes))
            raise ImageError(f"{folder} has the class {odd!r} in only one of train and {name}")
    labels = np.array([label for part in parts for label in part.targets])
    split = np.split(np.arange(len(labels)), np.cumsum([len(part) for part in parts])[:-1])
    return tuple(parts[0].classes), [path for part in parts for path, _ in part.samples], labels, split


def _filed(
    request: _Request, classes: tuple[str, ...], files: list[str], labels: Labels, split: Sequence[Labels]
) -> ImageTask:
    """A task whose images stay in files, normalized as ImageNet is everywhere."""
    paths, targets = np.array([os.fsencode(file) for file in files]), torch.from_numpy(labels)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    train, val, test = (
        ImageFiles(targets[torch.from_numpy(rows)], mean, std, request.size, paths[rows], request.workers)
        for rows in split
    )
    return ImageTask(request.name, classes, train, val, test, flip=True)


def _stored(
    request: _Request, classes: tuple[str, ...], images: Tensor, labels: Labels, split: Sequence[Labels], flip: bool
) -> ImageTask:
    """A task whose images are in memory."""
    images = resize(images, min(request.size, images.shape[-1]))
    targets, rows = torch.from_numpy(labels).long(), [torch.from_numpy(part) for part in split]
    mean, std = _mean_std(images[rows[0]])
    train, val, test = (StoredImages(targets[part], mean, std, request.size, images[part]) for part in rows)
    return ImageTask(request.name, classes, train, val, test, flip)


def _mean_std(images: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel, 0 to 1; from how often each value occurs, so the same on every machine.

    Shapes:
        (N, 3, H, W) uint8 -> (3,), (3,)
    """
    counts = np.stack([np.bincount(channel.flatten().numpy(), minlength=256) for channel in images.unbind(1)])
    values, total = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / (total - 1)
    return torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(variance)).float().clamp(min=1e-3)


def _held_out(labels: Labels, rows: Labels, count: int) -> tuple[Labels, Labels]:
    """Rows that stay, and `count` that are held out, as evenly over the classes as it goes; the same everywhere."""
    if not 0 < count < len(rows):
        raise ImageError(f"there are {len(rows)} training images, too few to hold out {count} of them")
    order = np.random.default_rng(0).permutation(len(rows))
    rank, sizes = ranks(labels[rows], order)
    chosen = np.lexsort((order, (rank + 0.5) / sizes))
    return rows[np.sort(chosen[count:])], rows[np.sort(chosen[:count])]


def _mixed(labels: Labels, split: list[Labels], count: int) -> list[Labels]:
    """Rows of train, val and test, with `count` held out if there is no val.

    Files are sorted by class, but a batch must not be of one class: batch norm computes its statistics from batches.
    """
    if len(split) == 2:
        split = [*_held_out(labels, split[0], count), split[1]]
    return [np.random.default_rng(0).permutation(rows) for rows in split]


def _stack(images: Iterable[Image.Image], count: int, size: int) -> Tensor:
    stacked = torch.empty((count, 3, size, size), dtype=torch.uint8)
    for row, image in zip(stacked, images, strict=True):
        row.copy_(pixels(image))
    return stacked
