"""Image classification data for training and evaluation.

    load_images("digits")                             the 8x8 digits that come with scikit-learn, no download
    load_images("cifar10", data_dir="data")           CIFAR-10 or CIFAR-100: torchvision's files, train/CLASS/*.png and
                                                      test/CLASS/*.png, or cifar10_png.tar.xz
    load_images("fashion_mnist", data_dir="data")     torchvision's files
    load_images("imagenet", data_dir="imagenet")      train/WNID/*.JPEG and val/WNID/*.JPEG
    load_images("folder", data_dir="my_images")       train/CLASS/*.jpg and test/CLASS/*.jpg (or val/)

A small data set is one uint8 tensor on the device, where whole batches are augmented and normalized. Images of large
data sets are read from their files by worker processes. The validation split is held out of the training images, the
same on every machine.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepnets.utils.errors import unknown_choice
from ghn_models.images import cifar
from ghn_models.images.augment import center_square, resize
from ghn_models.images.decode import ImageError, open_rgb, pixels
from ghn_models.images.folder_check import check_folder
from ghn_models.images.splits import ImageFiles, ImageSplit, Labels, StoredImages, rank_within_class
from ghn_models.images.torchvision_files import read_torchvision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_IMAGENET_HELD_OUT = 50_000  # DeepNets paper, section 5
_MAX_STORED_BYTES = 2**30  # images of larger folders stay in their files


@dataclass(frozen=True, eq=False)
class ImageTask:
    """An image classification task.

    Args:
        name: name of the data set.
        classes: names of the classes.
        train, val, test: its splits; val is held out of the published training images.
        flip: a mirrored image is still of its class, so training may mirror images.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    flip: bool

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Return the height and width of the images."""
        return self.train.size

    def to(self, device: torch.device | str) -> "ImageTask":
        """Return the task with its tensors on a device."""
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))

    def resized(self, size: int) -> "ImageTask":
        """Return the task with images of another height and width."""
        return replace(self, train=self.train.resized(size), val=self.val.resized(size), test=self.test.resized(size))

    def hashes(self) -> dict[str, str | None]:
        """Return the sha256 of each split, for records of results."""
        return {"train": self.train.sha256(), "val": self.val.sha256(), "test": self.test.sha256()}


@dataclass(frozen=True)
class _Request:
    name: str
    data_dir: Path | None
    size: int
    workers: int

    def folder(self) -> Path:
        """Return the folder of the images.

        Raises:
            ImageError: the user named no folder, or one that does not exist.
        """
        if self.data_dir is None:
            raise ImageError(f"the images of {self.name} need the folder that they are in (--data-dir)")
        if not self.data_dir.is_dir():
            raise ImageError(f"{self.data_dir} is not a folder; give the one that the images of {self.name} are in")
        return self.data_dir


_READERS: dict[str, Callable[[_Request], ImageTask]] = {}


def _reader(*names: str) -> Callable[[Callable[[_Request], ImageTask]], Callable[[_Request], ImageTask]]:
    def register(function: Callable[[_Request], ImageTask]) -> Callable[[_Request], ImageTask]:
        _READERS.update(dict.fromkeys(names, function))
        return function

    return register


def data_sets() -> list[str]:
    """Return the names that `load_images` accepts."""
    return list(_READERS)


def load_images(
    name: str,
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    workers: int = 4,
) -> ImageTask:
    """Load an image classification task.

    Args:
        name: one of `data_sets()`.
        data_dir: folder of its files; digits need none.
        image_size: height and width of the images in batches; by default 32, and 224 for imagenet.
        workers: processes or threads that read images from files.

    Raises:
        ImageError: the name is unknown, or files are missing or damaged.

    >>> task = load_images("digits")
    >>> len(task.train), len(task.val), len(task.test), task.num_classes
    (1197, 300, 300, 10)
    """
    if name not in _READERS:
        raise ImageError(unknown_choice("image data set", name, _READERS))
    size = usual_image_size(name) if image_size is None else image_size
    if size < 8:
        raise ImageError(f"image_size is {size}; it must be 8 or more")
    return _READERS[name](_Request(name, None if data_dir is None else Path(data_dir).expanduser(), size, workers))


def usual_image_size(name: str) -> int:
    """Return the default height and width of the images of a data set."""
    return 224 if name == "imagenet" else 32


@_reader("digits")
def _digits(request: _Request) -> ImageTask:
    """Load 1,797 handwritten digits of 8x8 pixels (UCI, E. Alpaydin and C. Kaynak); val and test get 300 each."""
    gray, labels = read_digits()
    images = torch.from_numpy(np.round(gray * (255 / 16)).astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
    rest, test = _hold_out(labels, np.arange(len(labels)), 300)
    rows = [*_hold_out(labels, rest, 300), test]
    return _stored(request, tuple("0123456789"), resize(images, min(request.size, 32)), labels, rows, flip=False)


def read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the (1797, 8, 8) images, 0 to 16, and the labels of `sklearn.datasets.load_digits`.

    The file inside of scikit-learn is read directly: to import the library takes seconds in each worker process.
    """
    spec = find_spec("sklearn")
    path = Path("" if spec is None else spec.origin or "").parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        from sklearn.datasets import load_digits

        data = load_digits()
        return data.images, data.target
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


@_reader(*cifar.NAMES)
def _cifar(request: _Request) -> ImageTask:
    """Load CIFAR from torchvision's or PNG files; a tenth of the training images of each class is held out.

    The papers hold out other images: the last tenth in the published order, which PNG files do not have.
    """
    data = cifar.read_cifar(request.name, request.folder())
    train, test = np.split(np.arange(len(data.labels)), [data.num_train])
    rows = [*_hold_out(data.labels, train, len(train) // 10), test]
    return _stored(request, data.classes, data.images, data.labels, rows, flip=True)


@_reader("fashion_mnist")
def _fashion_mnist(request: _Request) -> ImageTask:
    """Load torchvision's files, with black borders of 2 pixels; the last tenth of the training images is held out."""
    classes, arrays, targets = read_torchvision(request.name, "FashionMNIST", request.folder())
    images = torch.cat([F.pad(array[:, None].expand(-1, 3, -1, -1), (2,) * 4) for array in arrays])
    labels, published = np.concatenate(targets), len(targets[0])
    rows = np.split(np.arange(len(labels)), [published - published // 10, published])
    return _stored(request, classes, images, labels, rows, flip=False)


@_reader("imagenet")
def _imagenet(request: _Request) -> ImageTask:
    """Load ILSVRC 2012 from folders: the published validation images are the test split, 50,000 others are held out.

    torchvision.datasets.ImageNet unpacks the published archives into such folders.
    """
    classes, files, labels, rows = _list_images(request, ("val",))
    if len(classes) != 1000:
        raise ImageError(f"{request.data_dir} has {len(classes)} classes, and ImageNet has 1000; its name is 'folder'")
    return _filed(request, classes, files, labels, _mix(labels, rows, _IMAGENET_HELD_OUT))


@_reader("folder")
def _image_folder(request: _Request) -> ImageTask:
    """Load images of any kind.

    If only one of the folders test and val exists, it is the test split, and a tenth of train is held out.
    """
    classes, files, labels, rows = _list_images(request, ("val", "test"))
    rows = _mix(labels, rows, max(len(classes), len(rows[0]) // 10))
    size = request.size
    if len(files) * 3 * size**2 > _MAX_STORED_BYTES:
        return _filed(request, classes, files, labels, rows)

    def square(file: str) -> Image.Image:
        return center_square(open_rgb(file, file), size, shorter=size)

    with ThreadPoolExecutor(max(1, request.workers)) as pool:
        images = _stack(pool.map(square, files), len(files), size)
    return _stored(request, classes, images, labels, rows, flip=True)


def _list_images(request: _Request, others: tuple[str, ...]) -> tuple[tuple[str, ...], list[str], Labels, list[Labels]]:
    """Return classes, files and their labels, and the rows of train and of each of the other folders that exist."""
    from torchvision.datasets import ImageFolder

    folder = request.folder()
    names = ["train", *(other for other in others if (folder / other).is_dir())]
    expected = f"images in train/CLASS/ and {' or '.join(f'{other}/CLASS/' for other in others)}"
    if len(names) == 1:
        how = "; torchvision.datasets.ImageNet unpacks its archives so" if request.name == "imagenet" else ""
        raise ImageError(f"{folder} must have {expected}{how}")
    try:
        for name in names:
            check_folder(str(folder / name))
        splits = [ImageFolder(str(folder / name)) for name in names]
    except OSError as error:
        raise ImageError(f"{folder} must have {expected} ({str(error).splitlines()[0]})") from None
    for name, split in zip(names, splits, strict=True):
        if split.classes != splits[0].classes:
            odd = min(set(split.classes) ^ set(splits[0].classes))
            raise ImageError(f"{folder} has the class {odd!r} in only one of train and {name}")
    labels = np.array([label for split in splits for label in split.targets])
    rows = np.split(np.arange(len(labels)), np.cumsum([len(split) for split in splits])[:-1])
    return tuple(splits[0].classes), [path for split in splits for path, _ in split.samples], labels, rows


def _filed(
    request: _Request, classes: tuple[str, ...], files: list[str], labels: Labels, rows: Sequence[Labels]
) -> ImageTask:
    """Return a task whose images stay in their files, with the usual normalization of ImageNet.

    Args:
        request: name, image size and workers.
        classes: names of the classes.
        files: (N,) paths.
        labels: (N,).
        rows: rows of the images of train, val and test.
    """
    paths, targets = np.array([os.fsencode(file) for file in files]), torch.from_numpy(labels)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    train, val, test = (
        ImageFiles(targets[torch.from_numpy(chosen)], mean, std, request.size, paths[chosen], request.workers)
        for chosen in rows
    )
    return ImageTask(request.name, classes, train, val, test, flip=True)


def _stored(
    request: _Request, classes: tuple[str, ...], images: Tensor, labels: Labels, rows: Sequence[Labels], flip: bool
) -> ImageTask:
    """Return a task whose images are in memory.

    Args:
        request: name and image size.
        classes: names of the classes.
        images: (N, 3, H, H) uint8.
        labels: (N,).
        rows: rows of the images of train, val and test.
        flip: as in `ImageTask`.
    """
    images = resize(images, min(request.size, images.shape[-1]))
    targets, chosen = torch.from_numpy(labels).long(), [torch.from_numpy(split) for split in rows]
    mean, std = _mean_std(images[chosen[0]])
    train, val, test = (StoredImages(targets[split], mean, std, request.size, images[split]) for split in chosen)
    return ImageTask(request.name, classes, train, val, test, flip)


def _mean_std(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel, from 0 to 1; counts of values make them equal on every machine.

    Shapes:
        (N, 3, H, W) uint8 -> (3,), (3,)
    """
    counts = np.stack([np.bincount(channel.flatten().numpy(), minlength=256) for channel in images.unbind(1)])
    values, total = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / (total - 1)
    return torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(variance)).float().clamp(min=1e-3)


def _hold_out(labels: Labels, rows: Labels, count: int) -> tuple[Labels, Labels]:
    """Return the rows that stay, and `count` rows that are held out, as evenly over the classes as possible.

    The choice is the same on every machine.
    """
    if not 0 < count < len(rows):
        raise ImageError(f"there are {len(rows)} training images, too few to hold out {count} of them")
    order = np.random.default_rng(0).permutation(len(rows))
    rank, sizes = rank_within_class(labels[rows], order)
    by_rank = np.lexsort((order, (rank + 0.5) / sizes))
    return rows[np.sort(by_rank[count:])], rows[np.sort(by_rank[:count])]


def _mix(labels: Labels, rows: list[Labels], count: int) -> list[Labels]:
    """Return the rows of train, val and test in random order; without val, `count` training images are held out.

    Files are sorted by class, but a batch must not be of one class: batch norm computes its statistics from batches.
    """
    if len(rows) == 2:
        rows = [*_hold_out(labels, rows[0], count), rows[1]]
    return [np.random.default_rng(0).permutation(split) for split in rows]


def _stack(images: Iterable[Image.Image], count: int, size: int) -> Tensor:
    """Return (count, 3, size, size) uint8, without a second copy of the images in memory."""
    stacked = torch.empty((count, 3, size, size), dtype=torch.uint8)
    for row, image in zip(stacked, images, strict=True):
        row.copy_(pixels(image))
    return stacked
