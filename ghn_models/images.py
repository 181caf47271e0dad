"""Image classification data for training and evaluation.

    load_images("digits")                             the real 8x8 digits inside of scikit-learn, no download
    load_images("cifar10", data_dir="data")           torchvision data sets: cifar10, cifar100, fashion_mnist
    load_images("cifar10-jpg", data_dir="data")       CIFAR-10 as cifar10_jpg.tar.xz, read without unpacking
    load_images("folder", data_dir="my_images")       train/CLASS/*.jpg and test/CLASS/*.jpg (or val/)

All of a data set is one uint8 tensor, moved to the device once, where batches are drawn, augmented and normalized
together. The validation part is held out of the training images, stratified, the same on every machine.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


class ImageError(ValueError):
    """Images that are missing or cannot be read; the message is one sentence for the user."""


@dataclass(frozen=True)
class ImagePart:
    """Images of one purpose, on one device.

    Shapes:
        images: (N, 3, H, W) uint8; labels: (N,) int64; mean, std: (3,) of the training images, 0 to 1.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "ImagePart":
        """The same images on a device."""
        return ImagePart(*(t.to(device) for t in (self.images, self.labels, self.mean, self.std)))

    def resized(self, size: int) -> "ImagePart":
        """The same images in another size."""
        return self if size == self.images.shape[-1] else replace(self, images=_resize(self.images, size))

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 to floats with the mean and the deviation of the training images."""
        floats = images.float() / 255
        return (floats - self.mean[:, None, None]) / self.std[:, None, None]

    def sample(self, count: int, rng: np.random.Generator, crop: int = 0, flip: bool = False) -> tuple[Tensor, Tensor]:
        """A random training batch.

        Args:
            count: number of images, drawn with replacement.
            rng: decides which, and how they are augmented.
            crop: shift them by up to so many pixels.
            flip: mirror half of them.
        """
        chosen = torch.from_numpy(rng.integers(len(self), size=count)).to(self.images.device)
        images = self.images[chosen]
        if crop:
            images = _shifted(images, torch.from_numpy(rng.integers(2 * crop + 1, size=(count, 2))), crop)
        if flip:
            mirrored = torch.from_numpy(rng.random(count) < 0.5).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        return self.normalized(images), self.labels[chosen]

    def batches(self, batch_size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order; the last batch may be smaller."""
        for images, labels in zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True):
            yield self.normalized(images), labels

    def few(self, per_class: int, seed: int = 0) -> "ImagePart":
        """The same number of images of each class.

        Raises:
            ImageError: a class has fewer.
        """
        labels = self.labels.cpu().numpy()
        counts = np.bincount(labels)
        if not 1 <= per_class <= counts.min():
            raise ImageError(f"{per_class} images of each class are asked for; accepted: 1 to {counts.min()}")
        rng = np.random.default_rng(seed)
        chosen = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(len(counts))]
        index = torch.from_numpy(np.sort(np.concatenate(chosen))).to(self.labels.device)
        return replace(self, images=self.images[index], labels=self.labels[index])

    def sha256(self) -> str:
        """Digest of pixels and labels."""
        digest = hashlib.sha256(self.images.cpu().numpy().tobytes())
        digest.update(self.labels.cpu().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
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
        return self.train.images.shape[-1]

    def to(self, device: torch.device | str) -> "ImageTask":
        """The same task on a device."""
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))


_READERS: dict[str, Callable[[Path | None, int], ImageTask]] = {}


def _reader(*names: str) -> Callable[[Callable[[str, Path | None, int], ImageTask]], None]:
    def register(function: Callable[[str, Path | None, int], ImageTask]) -> None:
        for name in names:
            _READERS[name] = lambda folder, size, name=name: function(name, folder, size)  # type: ignore[misc]

    return register


def data_sets() -> list[str]:
    """Names that `load_images` accepts."""
    return list(_READERS)


def load_images(name: str, data_dir: str | Path | None = None, image_size: int = 32) -> ImageTask:
    """An image classification task.

    Args:
        name: one of `data_sets()`.
        data_dir: where its files are; digits need none.
        image_size: images are resized to this.

    Raises:
        ImageError: an unknown name, or files that are missing or damaged.
    """
    if name not in _READERS:
        raise ImageError(f"there is no image data set {name!r}; accepted: {', '.join(_READERS)}")
    return _READERS[name](None if data_dir is None else Path(data_dir), image_size)


@_reader("digits")
def _digits(name: str, data_dir: Path | None, size: int) -> ImageTask:
    """1,797 handwritten digits of 8x8 pixels (UCI, E. Alpaydin and C. Kaynak), 300 of them each for val and test."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(np.round(data.images * (255 / 16)).astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
    labels = torch.from_numpy(data.target).long()
    rest, test = _held_out(labels, 300)
    return _task(name, tuple("0123456789"), (images, labels), (rest, test), 300, size, flip=False)


@_reader("cifar10", "cifar100", "fashion_mnist")
def _torchvision(name: str, data_dir: Path | None, size: int) -> ImageTask:
    """Data sets of torchvision, which checks the hashes of its files before it reads them."""
    import torchvision

    dataset = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "fashion_mnist": "FashionMNIST"}[name]
    reader = getattr(torchvision.datasets, dataset)
    folder = _folder(name, data_dir)
    try:
        parts = [reader(folder, train=train, download=False) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise ImageError(
            f"{name} is not in {folder} ({str(error).splitlines()[0]}); get it with torchvision.datasets.{dataset}"
            f"({str(folder)!r}, download=True)"
        ) from None
    arrays = [torch.as_tensor(np.asarray(part.data)) for part in parts]
    images = torch.cat([a[:, None].expand(-1, 3, -1, -1) if a.dim() == 3 else a.permute(0, 3, 1, 2) for a in arrays])
    labels = torch.cat([torch.as_tensor(part.targets) for part in parts])
    split = torch.arange(len(labels)).split([len(part.data) for part in parts])
    return _task(name, tuple(parts[0].classes), (images, labels), split, 5000, size, flip=dataset != "FashionMNIST")


@_reader("cifar10-jpg")
def _cifar10_jpg(name: str, data_dir: Path | None, size: int) -> ImageTask:
    """CIFAR-10 with its images compressed as JPEG, in one archive."""
    path = _folder(name, data_dir) / "cifar10_jpg.tar.xz"
    if not path.is_file():
        raise ImageError(f"{path} does not exist; give the folder that has it")
    return _from_files(name, path, _archived(path), size)


@_reader("folder")
def _image_folder(name: str, data_dir: Path | None, size: int) -> ImageTask:
    """Any images, in train/CLASS/ and test/CLASS/ (or val/CLASS/)."""
    folder = _folder(name, data_dir)

    def files() -> Iterator[tuple[str, Image.Image]]:
        for path in sorted(folder.glob("*/*/*")):
            if path.suffix.lower() in _SUFFIXES:
                yield path.relative_to(folder).as_posix(), _opened(path)

    return _from_files(name, folder, files(), size)


def _folder(name: str, data_dir: Path | None) -> Path:
    if data_dir is None:
        raise ImageError(f"the images of {name} need the folder that they are in (data_dir)")
    if not data_dir.is_dir():
        raise ImageError(f"{data_dir} is no folder; give the one that the images of {name} are in")
    return data_dir


def _opened(file: object) -> Image.Image:
    return Image.open(file).convert("RGB")  # type: ignore[arg-type]


def _archived(path: Path) -> Iterator[tuple[str, Image.Image]]:
    with tarfile.open(path, "r|xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None and Path(member.name).suffix.lower() in _SUFFIXES:
                yield member.name, _opened(file)


def _from_files(name: str, source: Path, files: Iterator[tuple[str, Image.Image]], size: int) -> ImageTask:
    """A task from images whose path ends with SPLIT/CLASS/FILE."""
    images, classes, tests = [], [], []
    try:
        for path, image in files:
            part, label, _ = ("", "", *Path(path).parts)[-3:]
            if part not in ("train", "test", "val"):
                raise ImageError(f"{source} has {path}; images must be in train/CLASS/ and test/CLASS/ (or val/CLASS/)")
            images.append(_square(image, size))
            classes.append(label)
            tests.append(part != "train")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ImageError(f"{source} cannot be read ({error})") from None
    if not any(tests) or all(tests):
        raise ImageError(f"{source} has {len(images)} images, but it must have some in train/ and in test/ (or val/)")
    names = tuple(sorted(set(classes)))
    missing = set(names) - {label for label, test in zip(classes, tests, strict=True) if not test}
    if missing:
        raise ImageError(f"{source} has no training images of the class {min(missing)!r}")
    labels = torch.tensor([names.index(label) for label in classes])
    is_test = torch.tensor(tests)
    split = (torch.nonzero(~is_test).flatten(), torch.nonzero(is_test).flatten())
    held_out = max(len(names), len(split[0]) // 10)
    return _task(name, names, (torch.stack(images), labels), split, held_out, size, flip=True)


def _square(image: Image.Image, size: int) -> Tensor:
    """(3, size, size) uint8: the shorter side resized, the centre cut out."""
    if image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _task(
    name: str,
    classes: tuple[str, ...],
    data: tuple[Tensor, Tensor],
    split: tuple[Tensor, ...],
    held_out: int,
    size: int,
    flip: bool,
) -> ImageTask:
    images, labels = _resize(data[0], size), data[1]
    rest, test = split
    train, val = (rest[part] for part in _held_out(labels[rest], held_out))
    # Pixel by pixel in float64, so that it is the same on every machine.
    floats = images[train].double() / 255
    mean, std = floats.mean((0, 2, 3)).float(), floats.std((0, 2, 3)).float().clamp(min=1e-3)
    parts = [ImagePart(images[part], labels[part], mean, std) for part in (train, val, test)]
    return ImageTask(name, classes, parts[0], parts[1], parts[2], flip)


def _held_out(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of those that stay, and of `count` held out, as evenly over the classes as it goes."""
    if not 0 < count < len(labels):
        raise ImageError(f"there are {len(labels)} training images, too few to hold out {count} for validation")
    order = np.random.default_rng(0).permutation(len(labels))
    position = np.empty(len(labels))
    for label in np.unique(labels.numpy()):
        own = order[labels.numpy()[order] == label]
        position[own] = (np.arange(len(own)) + 0.5) / len(own)
    chosen = np.lexsort((order, position))
    return torch.from_numpy(np.sort(chosen[count:])), torch.from_numpy(np.sort(chosen[:count]))


def _resize(images: Tensor, size: int) -> Tensor:
    if images.shape[-2:] == (size, size):
        return images.contiguous()
    smaller = size < images.shape[-1]
    resized = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=smaller).round().clamp(0, 255).byte()
        for part in images.split(4096)
    ]
    return torch.cat(resized)


def _shifted(images: Tensor, shift: Tensor, crop: int) -> Tensor:
    """Windows of the images, padded by reflection, at (n, 2) offsets."""
    padded = F.pad(images.float(), (crop,) * 4, mode="reflect").byte()
    size = images.shape[-1]
    rows = (shift[:, :1] + torch.arange(size)).to(images.device)  # (n, size)
    columns = (shift[:, 1:] + torch.arange(size)).to(images.device)
    index = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
