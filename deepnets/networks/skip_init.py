"""Networks that get their parameters from elsewhere, or need none, are built without random initialisation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Uninitialized(TorchFunctionMode):
    """Within it, some functions of `torch.nn.init` leave tensors as they are.

    PyTorch lets a mode intercept `uniform_`, `normal_`, `kaiming_uniform_` and `constant_` alone; what others do costs
    little, or nothing on the meta device.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def without_storage() -> Iterator[None]:
    """Within it, modules are built on the meta device; random numbers there would import a compiler, for seconds."""
    with torch.device("meta"), Uninitialized():
        yield
