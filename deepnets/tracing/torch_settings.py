"""Settings of PyTorch that differ while a model is traced."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.amp.autocast_mode import autocast
from torch.nn.attention import flex_attention


@contextmanager
def visible_flex_attention() -> Iterator[None]:
    """Do not compile flex attention inside the `with` block, so that a mode sees it; its results are the same."""
    name = "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"
    before = getattr(flex_attention, name, None)
    if before is None:
        yield
        return
    setattr(flex_attention, name, True)
    try:
        yield
    finally:
        setattr(flex_attention, name, before)


@contextmanager
def autocast_on_meta() -> Iterator[None]:
    """Let `torch.autocast("meta")`, which models enter by the device of their input, do nothing in the `with` block."""
    initialize, is_enabled, dtype = autocast.__init__, torch.is_autocast_enabled, torch.get_autocast_dtype

    def initialize_off(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        if device_type == "meta":
            initialize(self, "cpu", enabled=False)
        else:
            initialize(self, device_type, *args, **kwargs)

    autocast.__init__ = initialize_off  # type: ignore[method-assign]
    torch.is_autocast_enabled = lambda *device: device != ("meta",) and is_enabled(*device)
    torch.get_autocast_dtype = lambda device_type: dtype("cpu" if device_type == "meta" else device_type)
    try:
        yield
    finally:
        autocast.__init__ = initialize  # type: ignore[method-assign]
        torch.is_autocast_enabled, torch.get_autocast_dtype = is_enabled, dtype
