"""Diffusion models: noisy samples, times, and what they are conditioned on."""

from collections.abc import Iterator

import torch
from torch import Tensor

from deepnets.tracing.inputs.arguments import BATCH
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.pixels import rows_of_patches
from deepnets.tracing.inputs.kinds.registry import argument
from deepnets.tracing.inputs.kinds.tokens import LENGTH

_PATCHES = 16
_SIDE = 32


def _side(facts: Facts) -> tuple[int, ...]:
    size = facts.find("sample_size", "image_size")
    if isinstance(size, int):
        return size, size
    return tuple(size[-2:]) if isinstance(size, list | tuple) and len(size) > 1 else (_SIDE, _SIDE)


@argument("sample")
def sample(facts: Facts) -> Iterator[Tensor]:
    """(B, C, H, W), with frames (B, C, T, H, W), or a sequence (B, C, length)."""
    channels = facts.number("in_channels", default=3)
    yield facts.floats(channels, *_side(facts))
    yield facts.floats(channels, 4, *_side(facts))
    yield facts.floats(channels, 256)
    yield facts.floats(4, channels, *_side(facts))


@argument("hidden_states")
def hidden_states(facts: Facts) -> Iterator[Tensor]:
    """(B, C, H, W), (B, patches, C), with frames (B, C, T, H, W) or (B, T, C, H, W)."""
    if "grid_thw" in facts.forward:  # the vision towers of some language models
        yield rows_of_patches(facts)
        return
    channels = facts.number("in_channels", "hidden_size", "in_features", default=3)
    yield facts.floats(channels, *_side(facts))
    yield facts.floats(_PATCHES, channels)
    yield facts.floats(channels, facts.number("sample_frames", default=5), *_side(facts))
    yield facts.floats(facts.number("sample_frames", default=5), channels, *_side(facts))


@argument("timestep", "timesteps", "t", "time", "noise_labels")
def times(facts: Facts) -> Iterator[Tensor]:
    """(B): steps of the diffusion."""
    yield torch.ones(BATCH, dtype=torch.long)
    yield facts.floats()
    yield torch.ones((), dtype=torch.long)


@argument("encoder_hidden_states", "encoder_hidden_states_t5", "context")
def conditions(facts: Facts) -> Iterator[Tensor]:
    """(B, 16, features): encoded texts."""
    names = (
        *("joint_attention_dim", "encoder_hid_dim", "cross_attention_dim", "caption_channels", "text_embed_dim"),
        *("text_dim", "caption_projection_dim", "context_dim", "text_embedding_dim"),
    )
    yield facts.floats(LENGTH, facts.number(*names, default=64))


@argument("encoder_attention_mask", "encoder_hidden_states_mask")
def condition_mask(facts: Facts) -> Iterator[Tensor]:
    """(B, 16): everything is attended."""
    yield torch.ones(BATCH, LENGTH, dtype=torch.long)


@argument("pooled_projections")
def pooled(facts: Facts) -> Iterator[Tensor]:
    """(B, features): encoded texts, one vector for each."""
    yield facts.floats(facts.number("pooled_projection_dim", default=64))


@argument("class_labels", "y", "labels", "class_label")
def classes(facts: Facts) -> Iterator[Tensor]:
    """(B): the first class."""
    yield torch.zeros(BATCH, dtype=torch.long)


@argument("img_ids")
def patch_places(facts: Facts) -> Iterator[Tensor]:
    """(patches, axes)."""
    yield torch.zeros(_PATCHES, _axes(facts))


@argument("txt_ids")
def text_places(facts: Facts) -> Iterator[Tensor]:
    """(16, axes)."""
    yield torch.zeros(LENGTH, _axes(facts))


def _axes(facts: Facts) -> int:
    axes = facts.find("axes_dims_rope", "axes_dim")
    return len(axes) if isinstance(axes, list | tuple) else 3


@argument("guidance")
def guidance(facts: Facts) -> Iterator[Tensor]:
    """(B)."""
    yield facts.floats()


@argument("controlnet_cond")
def control(facts: Facts) -> Iterator[Tensor]:
    """(B, 3, 8 H, 8 W): an image for latents of an eighth of its size."""
    steps = facts.find("conditioning_embedding_out_channels")
    times = 2 ** (len(steps) - 1) if isinstance(steps, list | tuple) else 8
    yield facts.floats(3, *(times * side for side in _side(facts)))
