"""CIFAR-10 and CIFAR-100, as torchvision stores them or as PNG files: the same images in the same order.

PNG files do not have the published order, so images are sorted by a digest of their pixels, which is the same in all
forms. This mixes the classes, as batches must be: batch norm computes its statistics from them.

PNG files are decoded once. The pixels are kept as `NAME.safetensors` beside them, or in the cache of the user if that
folder cannot be written, together with a digest of their source and one of the pixels.
"""

import hashlib
import io
import json
import lzma
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from deepnets.utils.atomic_files import atomic_write
from ghn_models.images.decode import ImageError, open_rgb, pixels
from ghn_models.images.splits import Labels
from ghn_models.images.torchvision_files import base_folder, read_torchvision
from ghn_models.utils.cache import cache_folder

_MAX_FILE = 2**16  # bytes of an archived image
_SIDE = 32
_CHUNK = 500  # images that a thread decodes at a time


@dataclass(frozen=True)
class _Published:
    """The published data set: its class in torchvision, and its numbers of classes and of images of each class."""

    torchvision_class: str
    classes: int
    train: int
    test: int


_PUBLISHED = {"cifar10": _Published("CIFAR10", 10, 5000, 1000), "cifar100": _Published("CIFAR100", 100, 500, 100)}
NAMES = tuple(_PUBLISHED)


@dataclass(frozen=True, eq=False)
class Cifar:
    """CIFAR-10 or CIFAR-100.

    Args:
        classes: in alphabetical order.
        images: (N, 3, 32, 32) uint8, training images first.
        labels: (N,).
        num_train: number of training images.
    """

    classes: tuple[str, ...]
    images: Tensor
    labels: Labels
    num_train: int


def read_cifar(name: str, folder: Path) -> Cifar:
    """Read CIFAR from a folder with torchvision's files, with train/CLASS/*.png and test/CLASS/*.png, or an archive.

    PNG files may be in a subfolder NAME_png; their archive is NAME_png.tar.xz.

    Raises:
        ImageError: the files are missing, damaged or incomplete.
    """
    dataset_class = _PUBLISHED[name].torchvision_class
    archive = folder / f"{name}_png.tar.xz"
    root = next((root for root in (folder / f"{name}_png", folder) if (root / "train").is_dir()), None)
    if (folder / base_folder(dataset_class)).is_dir():
        classes, images, labels = read_torchvision(name, dataset_class, folder)
        planes = torch.cat([split.permute(0, 3, 1, 2) for split in images])
        return _sort_by_digest(classes, planes, np.concatenate(labels), len(labels[0]))
    if root is not None:
        return _decode_once(name, folder, _describe_files(root), lambda: _decode(name, root, _list_files(root)))
    if archive.is_file():
        source = [_describe_file(archive, archive.name)]
        return _decode_once(name, folder, source, lambda: _decode(name, archive, _read_archive(archive)))
    raise ImageError(
        f"{folder} has no {name}: neither {base_folder(dataset_class)} nor train/CLASS/*.png nor {archive.name}; "
        f"torchvision.datasets.{dataset_class}({str(folder)!r}, download=True) fetches it, or give another folder "
        "(--data-dir)"
    )


def _sort_by_digest(classes: Sequence[str], images: Tensor, labels: Labels, num_train: int) -> Cifar:
    """Sort the images of each split by a digest of pixels and label."""
    arrays = images.contiguous().numpy()
    keys = [hashlib.sha256(image).digest() + bytes([label]) for image, label in zip(arrays, labels, strict=True)]
    order = np.array(sorted(range(len(keys)), key=lambda row: (row >= num_train, keys[row])), np.int64)
    return Cifar(tuple(classes), torch.from_numpy(arrays[order]), labels[order], num_train)


def _list_files(root: Path) -> list[tuple[str, Any]]:
    """Return the names, as in an archive, and the paths of all PNG files."""
    return [(path.relative_to(root).as_posix(), path) for path in root.glob("t*/*/*.png")]


def _read_archive(path: Path) -> list[tuple[str, Any]]:
    """Return the names and contents of the files of an archive of small images; nothing is written to the disk."""
    files: list[tuple[str, Any]] = []
    try:
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                if member.isdir():
                    continue
                file = archive.extractfile(member) if member.isfile() and member.size <= _MAX_FILE else None
                if file is None or not re.fullmatch(r"([^/]+_png/)?(train|test)/[^/]+/[^/]+\.png", member.name):
                    raise ImageError(
                        f"{path} has {member.name!r}, which is not a small train/CLASS/*.png or test/CLASS/*.png"
                    )
                files.append((member.name, io.BytesIO(file.read())))
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise ImageError(f"{path} is damaged ({error})") from None
    return files


def _decode(name: str, source: Path, files: list[tuple[str, Any]]) -> Cifar:
    """Decode all files in parallel."""
    published = _PUBLISHED[name]
    places = [tuple(file.split("/")[-3:-1]) for file, _ in files]  # train or test, class
    classes = sorted({c for _, c in places})
    per_class = {"train": published.train, "test": published.test}
    expected = {(split, c): count for split, count in per_class.items() for c in classes}
    if len(classes) != published.classes or Counter(places) != expected:
        title = name.replace("cifar", "CIFAR-")
        raise ImageError(f"{source} is not a complete {title}; it has {len(files)} images of {len(classes)} classes")
    order = sorted(range(len(files)), key=lambda row: places[row][0] == "test")  # training images first
    images = np.empty((len(files), 3, _SIDE, _SIDE), np.uint8)

    def decode(start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(order))):
            file, content = files[order[place]]
            images[place] = pixels(open_rgb(content, f"{file} of {source}", size=_SIDE)).numpy()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, range(0, len(order), _CHUNK)))  # raises the first error
    number = {c: k for k, c in enumerate(classes)}
    labels = np.array([number[places[row][1]] for row in order], np.int64)
    return _sort_by_digest(classes, torch.from_numpy(images), labels, published.train * published.classes)


def _describe_file(path: Path, name: str) -> str:
    """Return a line that changes when the file does."""
    status = path.stat()
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def _describe_files(root: Path) -> list[str]:
    """Return a line as `_describe_file` does for every PNG file of the two splits."""
    parts = [root / name for name in ("train", "test") if (root / name).is_dir()]
    folders = [Path(entry) for part in parts for entry in os.scandir(part)]
    entries = [(f, e) for f in folders if f.is_dir() for e in os.scandir(f) if e.name.endswith(".png")]
    return sorted(f"{f.parent.name}/{f.name}/{e.name} {e.stat().st_size} {e.stat().st_mtime_ns}" for f, e in entries)


def _decode_once(name: str, folder: Path, listing: list[str], decode: Callable[[], Cifar]) -> Cifar:
    """Load the images that were decoded from the same files before, or decode and keep them."""
    source = hashlib.sha256("\n".join(listing).encode()).hexdigest()
    beside = folder / f"{name}.safetensors"
    hidden = cache_folder("images") / f"{name}-{source[:16]}.safetensors"
    for path in (beside, hidden):
        kept = _load(path, source)
        if kept is not None:
            return kept
    images = decode()
    content = _encode(images, source)
    for path in (beside, hidden):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, content)
            break
        except OSError:  # a folder that cannot be written, or a full disk
            continue
    return images


def _digest(images: Tensor, labels: Tensor) -> str:
    """Return the sha256 of images and labels."""
    digest = hashlib.sha256(images.numpy().data)
    digest.update(labels.numpy().data)
    return digest.hexdigest()


def _encode(cifar: Cifar, source: str) -> bytes:
    """Return the content of a safetensors file with the images and the digest of their source."""
    labels = torch.from_numpy(cifar.labels.astype(np.uint8))
    metadata = {
        "source": source,
        "sha256": _digest(cifar.images, labels),
        "classes": json.dumps(cifar.classes),
        "num_train": str(cifar.num_train),
    }
    return save({"images": cifar.images, "labels": labels}, metadata)


def _load(path: Path, source: str) -> Cifar | None:
    """Load the images decoded from this source, or return None if they are missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("source") != source:
                return None
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
    except (OSError, SafetensorError):
        return None
    if metadata.get("sha256") != _digest(images, labels):
        return None
    classes = tuple(json.loads(metadata["classes"]))
    return Cifar(classes, images, labels.numpy().astype(np.int64), int(metadata["num_train"]))
