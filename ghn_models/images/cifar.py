"""CIFAR-10 and CIFAR-100, as torchvision stores them or as PNG files: the same images in the same order.

PNG files do not tell the published order, so images come in the order of a digest of their pixels, which all forms
tell. It mixes the classes, as batches must be: batch norm computes its statistics from them.

PNG files are decoded once. The pixels are kept as `NAME.safetensors` beside them, or in the cache of the user if that
folder cannot be written, together with a digest of what they were made from and one of themselves.
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
from ghn_models.images.splits import ImageError, Labels, opened, pixels
from ghn_models.images.torchvision_files import base_folder, read_torchvision
from ghn_models.utils.cache import cache_folder

_MAX_FILE = 2**16  # bytes of an archived image
_SIDE = 32
_AT_ONCE = 500  # images that a thread decodes


@dataclass(frozen=True)
class _Published:
    """What a data set consists of: its name in torchvision, and images of each class."""

    kind: str
    classes: int
    train: int
    test: int


_PUBLISHED = {"cifar10": _Published("CIFAR10", 10, 5000, 1000), "cifar100": _Published("CIFAR100", 100, 500, 100)}
NAMES = tuple(_PUBLISHED)


@dataclass(frozen=True, eq=False)
class Cifar:
    """All images of a data set.

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
    """The images in a folder that has torchvision's files, train/CLASS/*.png and test/CLASS/*.png, or an archive.

    PNG files may be in a folder NAME_png; the archive of them is NAME_png.tar.xz.

    Raises:
        ImageError: they are missing, damaged or incomplete.
    """
    published = _PUBLISHED[name]
    archive = folder / f"{name}_png.tar.xz"
    root = next((root for root in (folder / f"{name}_png", folder) if (root / "train").is_dir()), None)
    if (folder / base_folder(published.kind)).is_dir():
        classes, images, labels = read_torchvision(name, published.kind, folder)
        planes = torch.cat([part.permute(0, 3, 1, 2) for part in images])
        return _ordered(classes, planes, np.concatenate(labels), len(labels[0]))
    if root is not None:
        return _cached(name, folder, _listing(root), lambda: _decoded(name, root, _files(root)))
    if archive.is_file():
        return _cached(name, folder, [_line(archive, archive.name)], lambda: _decoded(name, archive, _members(archive)))
    raise ImageError(
        f"{folder} has no {name}: neither {base_folder(published.kind)} nor train/CLASS/*.png nor {archive.name}; "
        f"torchvision.datasets.{published.kind}({str(folder)!r}, download=True) fetches it, or give another folder "
        "(--data-dir)"
    )


def _ordered(classes: Sequence[str], images: Tensor, labels: Labels, num_train: int) -> Cifar:
    """The images of each part in the order of a digest of pixels and label."""
    arrays = images.contiguous().numpy()
    keys = [hashlib.sha256(image).digest() + bytes([label]) for image, label in zip(arrays, labels, strict=True)]
    order = np.array(sorted(range(len(keys)), key=lambda row: (row >= num_train, keys[row])), np.int64)
    return Cifar(tuple(classes), torch.from_numpy(arrays[order]), labels[order], num_train)


def _files(root: Path) -> list[tuple[str, Any]]:
    """Names, as in an archive, and places of PNG files."""
    return [(path.relative_to(root).as_posix(), path) for path in root.glob("t*/*/*.png")]


def _members(path: Path) -> list[tuple[str, Any]]:
    """Names and contents of the files of an archive of small images; nothing is written to the disk."""
    files: list[tuple[str, Any]] = []
    try:
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                if member.isdir():
                    continue
                file = archive.extractfile(member) if member.isfile() and member.size <= _MAX_FILE else None
                if file is None or not re.fullmatch(r"([^/]+_png/)?(train|test)/[^/]+/[^/]+\.png", member.name):
                    raise ImageError(
                        f"{path} has {member.name!r}, which is no small train/CLASS/*.png or test/CLASS/*.png"
                    )
                files.append((member.name, io.BytesIO(file.read())))
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise ImageError(f"{path} is damaged ({error})") from None
    return files


def _decoded(name: str, source: Path, files: list[tuple[str, Any]]) -> Cifar:
    """Images of all files, in parallel."""
    published = _PUBLISHED[name]
    places = [tuple(file.split("/")[-3:-1]) for file, _ in files]  # train or test, class
    classes = sorted({c for _, c in places})
    wanted = {(part, c): n for part, n in (("train", published.train), ("test", published.test)) for c in classes}
    if len(classes) != published.classes or Counter(places) != wanted:
        title = name.replace("cifar", "CIFAR-")
        raise ImageError(f"{source} is no complete {title}; it has {len(files)} images of {len(classes)} classes")
    order = sorted(range(len(files)), key=lambda row: places[row][0] == "test")  # training images first
    images = np.empty((len(files), 3, _SIDE, _SIDE), np.uint8)

    def decode(start: int) -> None:
        for place in range(start, min(start + _AT_ONCE, len(order))):
            file, content = files[order[place]]
            images[place] = pixels(opened(content, f"{file} of {source}", size=_SIDE)).numpy()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, range(0, len(order), _AT_ONCE)))  # raises what they raise
    number = {c: k for k, c in enumerate(classes)}
    labels = np.array([number[places[row][1]] for row in order], np.int64)
    return _ordered(classes, torch.from_numpy(images), labels, published.train * published.classes)


def _line(path: Path, name: str) -> str:
    """What changes when a file does."""
    found = path.stat()
    return f"{name} {found.st_size} {found.st_mtime_ns}"


def _listing(root: Path) -> list[str]:
    """Such a line for every PNG file of the two parts."""
    folders = [Path(entry) for part in ("train", "test") if (root / part).is_dir() for entry in os.scandir(root / part)]
    entries = [(f, e) for f in folders if f.is_dir() for e in os.scandir(f) if e.name.endswith(".png")]
    return sorted(f"{f.parent.name}/{f.name}/{e.name} {e.stat().st_size} {e.stat().st_mtime_ns}" for f, e in entries)


def _cached(name: str, folder: Path, listing: list[str], decode: Callable[[], Cifar]) -> Cifar:
    """What was decoded from the same files before, or else what is decoded now, which is then kept."""
    source = hashlib.sha256("\n".join(listing).encode()).hexdigest()
    beside = folder / f"{name}.safetensors"
    hidden = cache_folder("images") / f"{name}-{source[:16]}.safetensors"
    for path in (beside, hidden):
        found = _load(path, source)
        if found is not None:
            return found
    images = decode()
    content = _encoded(images, source)
    for path in (beside, hidden):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, content)
            break
        except OSError:  # a folder that cannot be written, or a full disk
            continue
    return images


def _digest(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(images.numpy().data)
    digest.update(labels.numpy().data)
    return digest.hexdigest()


def _encoded(cifar: Cifar, source: str) -> bytes:
    labels = torch.from_numpy(cifar.labels.astype(np.uint8))
    about = {
        "source": source,
        "sha256": _digest(cifar.images, labels),
        "classes": json.dumps(cifar.classes),
        "num_train": str(cifar.num_train),
    }
    return save({"images": cifar.images, "labels": labels}, about)


def _load(path: Path, source: str) -> Cifar | None:
    """Images made from this source, if they are intact."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            if about.get("source") != source:
                return None
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
    except (OSError, SafetensorError):
        return None
    if about.get("sha256") != _digest(images, labels):
        return None
    classes = tuple(json.loads(about["classes"]))
    return Cifar(classes, images, labels.numpy().astype(np.int64), int(about["num_train"]))
