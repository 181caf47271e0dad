"""Data sets in torchvision's files.

Those of CIFAR are pickles; torchvision reads them only if they have the published md5.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepnets.utils.errors import InputError
from ghn_models.images.decode import ImageError
from ghn_models.images.splits import Labels


def base_folder(dataset_class: str) -> str:
    """Return the name of the folder that torchvision keeps the files of a data set in.

    >>> base_folder("CIFAR10")
    'cifar-10-batches-py'
    """
    import torchvision

    return getattr(getattr(torchvision.datasets, dataset_class), "base_folder", f"{dataset_class}/raw")


def read_torchvision(name: str, dataset_class: str, folder: Path) -> tuple[tuple[str, ...], list[Tensor], list[Labels]]:
    """Read a data set in the published order.

    Args:
        name: name of the data set.
        dataset_class: its class in torchvision.datasets.
        folder: the one that contains its own folder.

    Returns:
        The classes, the images of the training and of the test split, and their labels.

    Raises:
        ImageError: files are missing or damaged.
    """
    import torchvision

    old = folder / dataset_class / "processed"  # torchvision would read it instead
    if old.exists():
        raise ImageError(f"{old} has files of an old torchvision, which differ from the published ones; remove it")
    reader = getattr(torchvision.datasets, dataset_class)
    try:
        splits = [reader(folder, train=train) for train in (True, False)]
        if any(len(split.data) != len(split.targets) for split in splits):
            raise InputError("labels are missing")
    except (RuntimeError, OSError, ValueError, TypeError, KeyError, AssertionError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ImageError(
            f"{folder / base_folder(dataset_class)} is not an intact {name} ({reason or 'damaged'}); fetch it with "
            f"torchvision.datasets.{dataset_class}({str(folder)!r}, download=True), or give another folder (--data-dir)"
        ) from None
    images, labels = [torch.as_tensor(s.data) for s in splits], [np.asarray(s.targets, np.int64) for s in splits]
    return tuple(splits[0].classes), images, labels
