"""Derivatives of several orders, to be compared with those of another way to compute the same."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def derivatives(inputs: Sequence[Tensor], forward: Callable[[], Tensor]) -> list[Tensor]:
    """The value of a function, and three derivatives of something that is linear in nothing."""
    values = [forward()]
    for _ in range(3):
        value = torch.stack([tensor.sin().sum() for tensor in values[-len(inputs) :]]).sum()
        values += torch.autograd.grad(value, inputs, create_graph=True)
    return values
