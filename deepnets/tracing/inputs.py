"""Inputs: the arguments that a model is traced with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from deepnets.tracing.errors import TraceError

BATCH = 2  # in training, batch norm needs more than one value for each channel

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


def model_arguments(model: nn.Module, input_size: int | Sequence[int] | None, inputs: Any) -> Arguments:
    """Return the arguments of the traced call, with activations on the meta device.

    Args:
        model: the network.
        input_size: as for `deepnets.trace`.
        inputs: as for `deepnets.trace`.

    Raises:
        TraceError: a size that is not positive, or larger than a tensor can be.
    """
    if inputs is not None:
        return _user_arguments(inputs)
    dummy = getattr(model, "dummy_inputs", None)  # Hugging Face
    if input_size is None and isinstance(dummy, Mapping) and getattr(model, "main_input_name", None) in dummy:
        return _user_arguments({k: v for k, v in dummy.items() if isinstance(v, Tensor)})
    return (_image(model, input_size),), {}


def _user_arguments(inputs: Any) -> Arguments:
    """Copy the arguments that a user gave; integers stay real, since models look at their values."""
    inputs = dict(inputs) if isinstance(inputs, Mapping) else inputs
    inputs = tree_map_only(Tensor, _own_tensor, inputs)
    if isinstance(inputs, dict):
        return (), inputs
    return inputs if isinstance(inputs, tuple) else (inputs,), {}


def _own_tensor(tensor: Tensor) -> Tensor:
    if tensor.is_meta or tensor.is_floating_point() or tensor.is_complex():
        return torch.empty_like(tensor, device="meta")
    return tensor.detach().cpu().clone()


def real_arguments(arguments: Arguments, inputs: Any) -> Arguments:
    """Return the arguments of a traced call with numbers: those of the user, else small random ones.

    Args:
        arguments: result of `model_arguments`.
        inputs: inputs as the user passed them.
    """
    given = iter([leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)])
    generator = torch.Generator().manual_seed(0)

    def real(tensor: Tensor) -> Tensor:
        own = next(given, tensor)
        if not own.is_meta:
            return own.detach().cpu().clone()
        if not (own.is_floating_point() or own.is_complex()):
            return torch.zeros(own.shape, dtype=own.dtype, device="cpu")
        return torch.randn(own.shape, generator=generator, device="cpu").to(own.dtype)

    result: Arguments = tree_map_only(Tensor, real, arguments)
    return result


def _image(model: nn.Module, input_size: int | Sequence[int] | None) -> Tensor:
    size = _default_input_size(model) if input_size is None else input_size
    shape = (_input_channels(model), size, size) if isinstance(size, int) else tuple(size)
    if any(n < 1 for n in shape):
        raise TraceError(f"input_size is {input_size}; sizes must be 1 or more")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    try:
        return torch.empty(BATCH, *shape, dtype=dtype, device="meta")
    except RuntimeError:
        raise TraceError(f"input_size is {input_size}, larger than any tensor can be") from None


def _default_input_size(model: nn.Module) -> int | Sequence[int]:
    """Return the image size that DeepNets, torchvision, timm and Hugging Face models say they expect, else 224."""
    for owner, attribute in (
        *((model, name) for name in ("image_size", "expected_input_sz", "img_size")),
        *((getattr(model, "config", None), name) for name in ("image_size",)),
    ):
        size = getattr(owner, attribute, None)
        if isinstance(size, int):
            return size
    timm = getattr(model, "default_cfg", None)
    if isinstance(timm, Mapping) and "input_size" in timm:
        return tuple(timm["input_size"])
    return 299 if type(model).__name__ == "Inception3" else 224


def _input_channels(model: nn.Module) -> int:
    """Return the channels that the first convolution reads, 3 if there is none."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return 3
