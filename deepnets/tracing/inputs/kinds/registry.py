"""A registry of small functions, one for each kind of argument: from facts about a model to tensors it may take."""

from collections.abc import Callable, Iterable

from torch import Tensor

from deepnets.tracing.inputs.facts import Facts
from deepnets.utils.errors import InputError

Maker = Callable[[Facts], Iterable[Tensor]]
"""Makes an argument: the most likely tensor first, then others."""

MAKERS: dict[str, Maker] = {}
"""Makers by the name that an argument has in the signature of `forward`."""


def argument(*names: str) -> Callable[[Maker], Maker]:
    """Register a maker of arguments.

    Args:
        names: that the argument has in signatures of `forward`.
    """

    def register(maker: Maker) -> Maker:
        for name in names:
            if name in MAKERS:
                raise InputError(f"the argument {name} has a maker already")
            MAKERS[name] = maker
        return maker

    return register
