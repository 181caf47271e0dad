"""Exponential moving average of weights, which is better than the weights while the learning rate is high."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of the parameters of a module.

    Args:
        module: module with the parameters to average.
        decay: weight of the old average in a step; 0 for no average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.parameters, self.decay = dict(module.named_parameters()), decay
        self.values: dict[str, Tensor] = {}
        if decay:
            self.values = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the average, and begin anew with the module's weights, such as after they were loaded."""
        for name, value in self.values.items():
            value.copy_(self.parameters[name])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after a step; early weights, which are far from later ones, are soon forgotten."""
        share = max(1 - self.decay, 9 / (10 + step))
        for name, value in self.values.items():
            value.lerp_(self.parameters[name], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Swap the average into the module inside the `with` block, where `values` has the weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.values.items():
            weights = self.parameters[name].clone()
            self.parameters[name].copy_(value)
            value.copy_(weights)
