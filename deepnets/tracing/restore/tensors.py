"""Undoing: real tensors that a traced call writes into, and random numbers that it draws, are as before afterwards."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

_UNDECLARED = ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm")
"""Operations that write into running statistics, which their schemas do not say."""


class WriteLog:
    """Contents of tensors before they are written into for the first time."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def save(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Save what an operation is about to write into."""
        for position, name in written_arguments(func):
            tensor = args[position] if position < len(args) else kwargs.get(name)
            for item in tensor if isinstance(tensor, tuple | list) else (tensor,):
                if isinstance(item, Tensor) and not item.is_meta and item.layout is torch.strided:
                    self._save(item)

    def _save(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._before:
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            self._before[storage._cdata] = (whole, whole.clone())

    def undo(self) -> None:
        """Write the old contents back."""
        for whole, content in self._before.values():
            if whole.numel() == content.numel():
                whole.copy_(content)
        self._before.clear()


@cache
def written_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    """Return positions and names of the arguments that an operation writes into."""
    schema = func._schema
    if func.overloadpacket.__name__ in _UNDECLARED:
        return tuple((i, a.name) for i, a in enumerate(schema.arguments) if a.name in ("running_mean", "running_var"))
    if not schema.is_mutable:
        return ()
    return tuple(
        (position, argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


class RandomNumbers:
    """Random numbers of a traced call, which leave the generator of the process as it is."""

    def __init__(self) -> None:
        self._state = torch.default_generator.get_state()

    def draw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation that draws random numbers on the CPU."""
        generator = torch.default_generator
        before = generator.get_state()
        generator.set_state(self._state)
        try:
            return func(*args, **kwargs)
        finally:
            self._state = generator.get_state()
            generator.set_state(before)
