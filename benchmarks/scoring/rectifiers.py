"""What goes into the rectifiers of a network, modules or functions."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_NAMES = ("relu", "relu_", "relu6", "hardtanh")  # the last is what nn.ReLU6 calls


class Rectifiers(TorchFunctionMode):
    """Within it, the input (B, ...) of every ReLU is given to a function before the ReLU runs.

    Args:
        keep: what is called with it.
    """

    def __init__(self, keep: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.keep = keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _NAMES:
            self.keep(args[0])
        return func(*args, **(kwargs or {}))
