"""Calls of a network with other tensors in place of its parameters and buffers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def call_with(model: nn.Module, tensors: Mapping[str, Tensor], *inputs: Any) -> Any:
    """Call a network with other tensors in place of its parameters and buffers, and leave it unchanged.

    Unlike `torch.func.functional_call`, it also restores modules that have two names.

    Args:
        model: the network.
        tensors: tensors by the name of the parameter or buffer that each replaces.
        inputs: arguments of the call.
    """
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    with _replaced(model, {id(named[name]): tensor for name, tensor in tensors.items()}):
        return model(*inputs)


@contextmanager
def _replaced(model: nn.Module, stand_ins: Mapping[int, Tensor]) -> Iterator[None]:
    """Replace tensors by their `id` in all modules."""
    held: list[Any] = [kept for m in model.modules() for kept in (m._parameters, m._buffers)]
    before = [dict(tensors) for tensors in held]
    recurrent = {module: module._flat_weights for module in model.modules() if isinstance(module, nn.RNNBase)}
    try:
        for tensors in held:
            tensors.update((name, stand_ins[id(t)]) for name, t in tensors.items() if id(t) in stand_ins)
        for module, weights in recurrent.items():
            module._flat_weights = [stand_ins.get(id(weight), weight) for weight in weights]
        yield
    finally:
        for module, weights in recurrent.items():
            module._flat_weights = weights
        for tensors, old in zip(held, before, strict=True):
            tensors.update(old)
