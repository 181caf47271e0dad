"""The state of modules: what a traced call may change in them, saved before and restored after."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def restored_modules(model: nn.Module) -> Iterator[None]:
    """Restore the attributes and buffers of all modules afterwards; modules may keep what they have computed."""
    before = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes, buffers in before:
            vars(module).clear()
            vars(module).update(attributes)
            module._buffers.clear()
            module._buffers.update(buffers)


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Switch off the fused encoder layers of PyTorch, which hide their attention."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
