"""Weights of timm (Wightman, 2019): 900 architectures, their ImageNet accuracies and speeds.

An architecture may have several weights, which differ in how they were trained: `resnet50.a1_in1k` is the architecture
resnet50 trained by the recipe a1_in1k, its tag. The graphs are traced, so generating this split needs timm.
"""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepnets.spaces.tables import Table, Truth, numbers, read_table

_MORE_IMAGES = re.compile(
    r"in12k|in21k|in22k|laion|clip|openai|webli|jft|ig1b|wsl|yfcc|m30m|m38m|swag|seer|ssld",
)
"""Names in tags of data beyond ImageNet-1k: larger ImageNets, and web images with texts or hashtags."""

_SPEEDS = {"timm_speed_cpu_i9_10940x_fp32": "cpu", "timm_speed_rtx4090_amp": "gpu"}


def tag_of(weights: str) -> str:
    """Return the training recipe of weights."""
    return weights.partition(".")[2]


def architecture_of(weights: str) -> str:
    """Return the architecture of weights."""
    return weights.partition(".")[0]


def uses_more_than_imagenet1k(weights: str) -> bool:
    """Return whether the tag says that weights were trained on more than ImageNet-1k, or taught by such a model."""
    return _MORE_IMAGES.search(tag_of(weights)) is not None


@cache
def timm_truth() -> Truth:
    """Return accuracies, speeds and operations of all weights, in the order of their names.

    Accuracies are those at the larger image size where two were evaluated. Speeds (images per second on an Intel
    i9-10940X in float32, and on an NVIDIA RTX 4090 with automatic mixed precision), operations (in 10^9) and
    activations (in 10^6) are those at the same size. `more_data` is 1 for weights trained on more than ImageNet-1k.
    """
    results = read_table("timm_imagenet")
    best = _largest_size(results)
    keys = sorted(best)
    rows = [best[key] for key in keys]
    at = [(architecture_of(key), results["img_size"][row]) for key, row in zip(keys, rows, strict=True)]
    columns = {
        "imagenet_top1": numbers([results["top1"][row] for row in rows]),
        "imagenet_top5": numbers([results["top5"][row] for row in rows]),
        "image_size": numbers([results["img_size"][row] for row in rows]),
        "more_data": np.array([float(uses_more_than_imagenet1k(key)) for key in keys]),
    }
    for name, device in _SPEEDS.items():
        table = read_table(name)
        columns[f"{device}_images_per_second"] = _looked_up(table, "infer_samples_per_sec", at)
        columns |= {what: _looked_up(table, f"infer_{what}", at) for what in ("gmacs", "macts")}
    return Truth(tuple(keys), tuple(columns), np.stack(list(columns.values()), axis=1))


def _largest_size(results: Table) -> dict[str, int]:
    """Return the row of each weights at the largest image size."""
    best: dict[str, int] = {}
    for row, key in enumerate(results["model"]):
        if key not in best or int(results["img_size"][row]) > int(results["img_size"][best[key]]):
            best[key] = row
    return best


def _looked_up(table: Table, column: str, at: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Return a column for architectures and image sizes."""
    pairs = zip(table["model"], table["infer_img_size"], strict=True)
    known = dict(zip(pairs, table[column], strict=True))
    return numbers([known.get(pair, "") for pair in at])
