"""Arguments: what a model is called with."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

BATCH = 2  # in training, batch norm needs more than one value for each channel

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


def traced_arguments(inputs: Any) -> Arguments:
    """Return the arguments of the traced call, with activations on the meta device.

    Integers stay real, since models look at their values.

    Args:
        inputs: a tensor, a tuple of arguments, or a mapping of keyword arguments.
    """
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
        arguments: result of `traced_arguments`.
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
