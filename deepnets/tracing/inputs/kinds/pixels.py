"""Images and videos: arguments that are known by their names."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from deepnets.tracing.inputs.arguments import BATCH
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import argument
from deepnets.tracing.inputs.layers import IMAGE_SIZES

_VISION = ("vision", "image", "video", "backbone", "encoder")
_GRID = 8  # patches in a row and in a column
_FRAMES = ("num_frames", "frames_per_clip", "video_length")


def channels(facts: Facts) -> int:
    """Return the channels of images."""
    convolution = facts.first(nn.Conv2d, nn.Conv3d)
    known = 3 if convolution is None or convolution.in_channels > 16 else convolution.in_channels
    return facts.number("num_channels", "in_channels", "in_chans", "num_input_channels", of=_VISION, default=known)


def heights_and_widths(facts: Facts) -> Iterator[tuple[int, ...]]:
    """Provide the size that the model says it expects, else common ones."""
    size = facts.image_size()
    yield from [tuple(size[-2:])] if size is not None else [(n, n) for n in IMAGE_SIZES]


@argument("pixel_values", "image", "images", "img", "image1", "image2", "pixel_values_images", "flattened_patches")
def pixels(facts: Facts) -> Iterator[Tensor]:
    """(B, C, H, W), or with frames (B, T, C, H, W)."""
    if {"image_grid_thw", "grid_thw"} & facts.forward.keys():
        yield rows_of_patches(facts)
        return
    frames = facts.number(*_FRAMES, of=_VISION, default=0)
    shapes = [(channels(facts), *size) for size in heights_and_widths(facts)]
    if frames:
        yield from (facts.floats(frames, *shape) for shape in shapes)
    yield from (facts.floats(*shape) for shape in shapes)
    if not frames:
        yield from (facts.floats(1, *shape) for shape in shapes[:1])
        yield from (facts.floats(n, *shape) for n in (3, 5) for shape in shapes[:1])
    yield from _patches(facts)


def _patches(facts: Facts) -> Iterator[Tensor]:
    """Provide 16 patches of each image, flattened."""
    patch = facts.number("patch_size", of=_VISION, default=0)
    if patch:
        width = channels(facts) * patch * patch
        yield facts.floats(16, width)
        yield facts.floats(16, channels(facts), patch, patch)


def rows_of_patches(facts: Facts) -> Tensor:
    """Return the patches of all images, one a row; `image_grid_thw` says how they lie."""
    patch, deep = facts.number("patch_size", of=_VISION, default=14), facts.number("temporal_patch_size", default=1)
    width = channels(facts) * deep * patch * patch
    return torch.empty(BATCH * _GRID * _GRID, width, dtype=facts.dtype, device="meta")


@argument("image_grid_thw", "grid_thw")
def grids(facts: Facts) -> Iterator[Tensor]:
    """(B, 3): frames, rows and columns of the patches of an image."""
    yield torch.tensor([[1, _GRID, _GRID]]).repeat(BATCH, 1)


@argument("image_sizes")
def image_sizes(facts: Facts) -> Iterator[Tensor]:
    """(B, 2): height and width of the images before they were cut into tiles."""
    yield from (torch.tensor([size]).repeat(BATCH, 1) for size in heights_and_widths(facts))


@argument("visual_feats", "visual_embeds")
def region_features(facts: Facts) -> Iterator[Tensor]:
    """(B, regions, features): what a detector found."""
    yield facts.floats(_GRID, facts.number("visual_feat_dim", "visual_embedding_dim", default=512))


@argument("visual_pos")
def region_places(facts: Facts) -> Iterator[Tensor]:
    """(B, regions, 4): boxes."""
    yield facts.floats(_GRID, facts.number("visual_pos_dim", default=4))


@argument("pixel_values_videos", "video", "videos")
def video(facts: Facts) -> Iterator[Tensor]:
    """(B, T, C, H, W)."""
    frames = facts.number(*_FRAMES, of=_VISION, default=8)
    yield from (facts.floats(frames, channels(facts), *size) for size in heights_and_widths(facts))


@argument("pixel_mask")
def pixel_mask(facts: Facts) -> Iterator[Tensor]:
    """(B, H, W): no padding."""
    yield from (torch.ones(BATCH, *size, dtype=torch.long) for size in heights_and_widths(facts))


@argument("input_points")
def points(facts: Facts) -> Iterator[Tensor]:
    """(B, objects, points, 2): what is to be segmented."""
    yield facts.floats(1, 1, 2)
