"""Building networks without random initialization, for parameters that come from elsewhere or are not needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

Model = TypeVar("Model")


class SkipInit(TorchFunctionMode):
    """A context in which functions of `torch.nn.init` leave tensors as they are.

    PyTorch lets a mode intercept `uniform_`, `normal_`, `kaiming_uniform_` and `constant_` only. The other functions
    take little time, or none on the meta device.
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
def on_meta_without_init() -> Iterator[None]:
    """Build modules on the meta device, without initialization.

    Random numbers on the meta device would import a compiler, which takes seconds.

    >>> with on_meta_without_init():
    ...     layer = torch.nn.Linear(1000, 1000)
    >>> layer.weight.is_meta
    True
    """
    with torch.device("meta"), SkipInit():
        yield


def build_on_meta(factory: Callable[[], Model]) -> Model:
    """Build a model on the meta device, or as usual if that fails: some models compute their widths with tensors."""
    try:
        with on_meta_without_init():
            return factory()
    except (Exception, SystemExit):  # an error that has another reason is raised again
        pass
    return factory()
