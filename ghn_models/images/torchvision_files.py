"""Data sets as torchvision stores them. Its CIFAR files are pickles, which it reads only if they have their md5."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ghn_models.images.splits import ImageError, Labels


def base_folder(kind: str) -> str:
    """Folder of its files, for example cifar-10-batches-py."""
    import torchvision

    return getattr(getattr(torchvision.datasets, kind), "base_folder", f"{kind}/raw")


def read_torchvision(name: str, kind: str, folder: Path) -> tuple[tuple[str, ...], list[Tensor], list[Labels]]:
    """Classes, and images and labels of the training and of the test part, in the published order.

    Args:
        name: of the data set.
        kind: of its reader, torchvision.datasets.KIND.
        folder: which its own folder is in.

    Raises:
        ImageError: files are missing or damaged.
    """
    import torchvision

    old = folder / kind / "processed"  # which torchvision would read instead
    if old.exists():
        raise ImageError(f"{old} has files of an old torchvision, which are not the published ones; remove it")
    reader = getattr(torchvision.datasets, kind)
    try:
        parts = [reader(folder, train=train) for train in (True, False)]
        if any(len(part.data) != len(part.targets) for part in parts):
            raise ValueError("labels are missing")
    except (RuntimeError, OSError, ValueError, TypeError, KeyError, AssertionError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ImageError(
            f"{folder / base_folder(kind)} is no intact {name} ({reason or 'damaged'}); fetch it with "
            f"torchvision.datasets.{kind}({str(folder)!r}, download=True), or give another folder (--data-dir)"
        ) from None
    images, labels = [torch.as_tensor(p.data) for p in parts], [np.asarray(p.targets, np.int64) for p in parts]
    return tuple(parts[0].classes), images, labels
