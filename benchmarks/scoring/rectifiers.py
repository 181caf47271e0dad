"""Recording of the inputs of all ReLUs of a network, whether modules or functions."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_NAMES = ("relu", "relu_", "relu6", "hardtanh")  # the last is what nn.ReLU6 calls


class Rectifiers(TorchFunctionMode):
    """Context in which every ReLU first passes its input to a function.

    Args:
        keep: function of the input (B, ...) of a ReLU.
    """

    def __init__(self, keep: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.keep = keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _NAMES:
            self.keep(args[0])
        return func(*args, **(kwargs or {}))
