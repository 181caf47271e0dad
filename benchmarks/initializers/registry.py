"""All initializers by name. To add one, write its file in this package, a line here and one in `model_help`."""

import os
from functools import partial
from pathlib import Path

from benchmarks.core.model_names import PRETRAINED_PREFIX, TRAINED_PREFIX
from benchmarks.initializers.base import Apply, Initializer
from benchmarks.initializers.fixup import fixup
from benchmarks.initializers.ghn import (
    ORTH_SUFFIX,
    Untrained,
    ghn_initializer,
    is_ghn,
    orthogonal_initializer,
    parse_name,
)
from benchmarks.initializers.gradinit import gradinit
from benchmarks.initializers.metainit import metainit
from benchmarks.initializers.nio import nio
from benchmarks.initializers.pretrained import pretrained_initializer
from benchmarks.initializers.random_init import he, orth, randinit
from benchmarks.initializers.trained_run import trained_initializer
from deepnets.utils.errors import InputError, unknown_choice
from ghn_models import list_models

METHODS: dict[str, Apply] = {f.__name__: f for f in (randinit, he, orth, fixup, gradinit, metainit, nio)}
"""Initializers that read no weights."""
_LEARNED = {f.__name__: f for f in (gradinit, metainit, nio)}
_SMALLEST_SHARES = {"gradinit": 1 / 16, "metainit": 1 / 8, "nio": 1 / 32}  # 4, 2 and 4 images
_MAKE_CLASSIFIERS = {f.__name__ for f in (he, fixup)} | _LEARNED.keys()
_MAX_STEPS = 10**6


class UnknownModelError(InputError):
    """No initializer has this name; the message lists those that exist."""


def get_method(name: str) -> Apply | None:
    """Return an initializer without weights, such as "orth", or "gradinit.100" with 100 steps; None if unknown."""
    base, _, steps = name.partition(".")
    if base in _LEARNED and steps.isdecimal() and steps == str(int(steps)) and 1 <= int(steps) <= _MAX_STEPS:
        return partial(_LEARNED[base], steps=int(steps))
    return METHODS.get(name)


def load_initializer(
    name: str, device: str = "cpu", orth_layer: int = 0, untrained: Untrained | None = None
) -> Initializer:
    """Return the initializer of this name, with its weights if it has any.

    Args:
        name: see `model_help.MODEL_HELP`.
        device: device of the GHN.
        orth_layer: first layer that NAME_orth makes orthogonal, counted from 0.
        untrained: create a GHN with these random weights instead of loading one.

    Raises:
        UnknownModelError: no initializer has this name.
        InputError: weights are missing or damaged.
    """
    method, base = get_method(name), name.partition(".")[0]
    if name == "orth" and orth_layer:
        return Initializer(name, partial(orth, first_layer=orth_layer))
    if method is not None:
        share = _SMALLEST_SHARES.get(base, 1.0)
        return Initializer(name, method, smallest_share=share, makes_classifiers=base in _MAKE_CLASSIFIERS)
    if name == PRETRAINED_PREFIX:
        raise InputError(f"{PRETRAINED_PREFIX} names no file; accepted: as in {PRETRAINED_PREFIX}resnet50.pth")
    if name.startswith(PRETRAINED_PREFIX):
        return _pretrained(Path(name.removeprefix(PRETRAINED_PREFIX)).expanduser(), orth_layer)
    if name.startswith(TRAINED_PREFIX):
        return trained_initializer(Path(name.removeprefix(TRAINED_PREFIX)).expanduser())
    weights, _ = parse_name(name)
    if is_ghn(weights) or (weights and os.path.isdir(weights)):
        return ghn_initializer(name, device, orth_layer, untrained)
    raise UnknownModelError(
        unknown_choice(
            "model",
            name,
            METHODS,
            f"NAME.STEPS of {' and '.join(_LEARNED)}, {PRETRAINED_PREFIX}PATH, weights of a GHN "
            f"({', '.join(list_models(weights=True)[:4])}, ...) or the folder of a checkpoint, "
            f"and NAME{ORTH_SUFFIX} of a GHN",
        )
    )


def _pretrained(path: Path, orth_layer: int) -> Initializer:
    """Return trained weights, made orthogonal if no file has this name but one has it without _orth."""
    if path.name.endswith(ORTH_SUFFIX) and not path.exists():
        plain = pretrained_initializer(path.with_name(path.name.removesuffix(ORTH_SUFFIX)))
        return orthogonal_initializer(plain, orth_layer)
    return pretrained_initializer(path)
