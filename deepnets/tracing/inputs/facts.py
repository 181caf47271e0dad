"""Facts: what a model says about itself, in its attributes, configuration, layers and the signature of `forward`."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from deepnets.tracing.inputs.arguments import BATCH

_SIZES = ("image_size", "img_size", "expected_input_sz", "input_size", "sample_size", "resolution", "max_img_size")
_LIMIT = 3  # how deep configurations are nested


class Facts:
    """Facts that a model and its configuration state about its inputs.

    No library is imported: the models of a library are known by attributes that they have.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        self.model = model
        self.config = getattr(model, "config", None)
        self._configs = list(_nested_configs("", self.config, _LIMIT))
        self.dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        self.forward = _forward_parameters(model)

    @property
    def configs(self) -> list[Any]:
        """The configuration of the model and those of its parts, the outer ones first."""
        return [config for _, config in self._configs]

    @property
    def required(self) -> list[str]:
        """Arguments of `forward` without a default."""
        return [name for name, p in self.forward.items() if p.default is Parameter.empty]

    def find(self, *names: str, of: Sequence[str] = ()) -> Any:
        """Return the first value with one of these names, or None.

        Args:
            names: names of an attribute of the model's configuration, of a part of it, or of the model.
            of: what the names of parts may contain that are to be asked first, for example "vision".
        """
        parts = [config for path, config in self._configs if any(word in path for word in of)]
        for owner in (*parts, *(config for _, config in self._configs), self.model):
            for name in names:
                value = owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)
                if value is not None and not callable(value):
                    return value
        return None

    def number(self, *names: str, of: Sequence[str] = (), default: int) -> int:
        """Return a number; of a list its first."""
        value = self.find(*names, of=of)
        if isinstance(value, list | tuple) and value:
            value = value[0]
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def image_size(self) -> tuple[int, ...] | None:
        """Return height and width, or a whole shape without the batch, if the model says what it expects."""
        for name in ("pretrained_cfg", "default_cfg"):  # timm
            settings = getattr(self.model, name, None)
            if isinstance(settings, Mapping) and "input_size" in settings and not self._other_size(settings):
                return tuple(settings["input_size"])
        size = self.find(*_SIZES, of=("vision", "image", "backbone", "video"))
        if isinstance(size, Mapping):
            size = (size.get("height"), size.get("width"))
        size = (size, size) if isinstance(size, int) else size
        if isinstance(size, list | tuple) and size and all(isinstance(n, int) and n > 0 for n in size):
            return tuple(size)
        return (299, 299) if type(self.model).__name__ == "Inception3" else None

    def _other_size(self, settings: Mapping[str, Any]) -> bool:
        """Return whether a model of timm was made for another size than that of its weights."""
        made_for = getattr(getattr(self.model, "patch_embed", None), "img_size", None)
        return False if made_for is None else tuple(settings["input_size"][1:]) != tuple(made_for)

    def first(self, *kinds: type[nn.Module]) -> Any:
        """Return the first module of some kinds, in the order of registration."""
        return next((module for module in self.model.modules() if isinstance(module, kinds)), None)

    def floats(self, *shape: int) -> Tensor:
        """Return an activation of this shape, with the batch in front."""
        return torch.empty(BATCH, *shape, dtype=self.dtype, device="meta")


def _forward_parameters(model: nn.Module) -> dict[str, Parameter]:
    try:
        parameters = signature(model.forward).parameters
    except (TypeError, ValueError):
        return {}
    return {
        name: p for name, p in parameters.items() if p.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    }


def _nested_configs(path: str, config: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Provide a configuration and those inside, each with the names that lead to it; the outer ones first."""
    if config is None or depth == 0:
        return
    yield path, config
    members = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    for name, member in members.items():
        if hasattr(member, "to_dict") and not isinstance(member, type):
            yield from _nested_configs(f"{path}.{name}", member, depth - 1)
