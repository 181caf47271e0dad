"""What gives networks their parameters: GHNs, and the initialisations that they are compared with; see `MODELS`."""

from functools import partial
from pathlib import Path

from benchmarks.initializers._fixup import fixup
from benchmarks.initializers._ghn import SUFFIX, Untrained, is_ghn, parsed, predicted
from benchmarks.initializers._gradinit import gradinit
from benchmarks.initializers._metainit import metainit
from benchmarks.initializers._pretrained import PREFIX, pretrained
from benchmarks.initializers._random import he, orth, randinit
from benchmarks.initializers.base import Apply, Initializer, Setting
from benchmarks.scoring.zero_cost_proxies import PROXIES
from ghn_models import list_models

__all__ = ["METHODS", "MODELS", "Initializer", "Setting", "Untrained", "initializer", "method"]

MODELS = """\
randinit         PyTorch's own random initialisation
he               normal weights of variance 2 / fan_in (He et al., 2015)
orth             orthogonal weights (Saxe et al., 2014)
fixup            residual networks without batch norm (Zhang et al., 2019)
gradinit         learnt factors of parameters, 390 steps; slow on CPUs (Zhu et al., 2021)
metainit         learnt norms of weights, 500 steps; slow on CPUs (Dauphin and Schoenholz, 2019)
gradinit.N       the same with N steps, to save time; metainit.N likewise
pretrained:PATH  trained weights of torchvision: a file, or a folder with NAME.pth or NAME.safetensors for each network
ghn3_t, ...      a GHN, that is, predicted parameters: shipped (ghn3_t, ghn2, mlp, for digits) or converted weights
FOLDER           a GHN that you have trained, e.g. runs/my_ghn/best
NAME_orth        a GHN whose predicted weights are made orthogonal (GHN-orth, Knyazev, 2022), e.g. ghn3_t_orth
"""
"""What --model accepts."""
METHODS: dict[str, Apply] = {f.__name__: f for f in (randinit, he, orth, fixup, gradinit, metainit)}
"""Initialisations that read no weights."""
_LEARNT = {f.__name__: f for f in (gradinit, metainit)}
_SMALLEST_SHARES = {"gradinit": 1 / 16, "metainit": 1 / 8}  # 4 and 2 images
_MAKE_CLASSIFIERS = {f.__name__ for f in (he, fixup)} | _LEARNT.keys()
_MOST_STEPS = 10**6


def method(name: str) -> Apply | None:
    """The initialisation of this name, NAME or NAME.STEPS; None if it is something that reads weights."""
    base, _, steps = name.partition(".")
    if base in _LEARNT and steps.isdecimal() and steps == str(int(steps)) and 1 <= int(steps) <= _MOST_STEPS:
        return partial(_LEARNT[base], steps=int(steps))
    return METHODS.get(name)


def initializer(name: str, device: str = "cpu", orth_layer: int = 0, untrained: Untrained | None = None) -> Initializer:
    """What gives networks their parameters.

    Args:
        name: see `MODELS`.
        device: of the GHN.
        orth_layer: the first layer that NAME_orth makes orthogonal.
        untrained: make a GHN with random weights instead of loading one.

    Raises:
        ValueError: an unknown name, or weights that are not at hand.
    """
    found, base = method(name), name.partition(".")[0]
    if found is not None:
        share = _SMALLEST_SHARES.get(base, 1.0)
        return Initializer(name, found, smallest_share=share, makes_classifiers=base in _MAKE_CLASSIFIERS)
    if name == PREFIX:
        raise ValueError(f"{PREFIX} names no file; accepted: as in {PREFIX}resnet50.pth")
    if name.startswith(PREFIX):
        return pretrained(Path(name.removeprefix(PREFIX)))
    weights, _ = parsed(name)
    if is_ghn(weights) or (weights and Path(weights).is_dir()):
        return predicted(name, device, orth_layer, untrained)
    if name in PROXIES or name.endswith((".csv", ".csv.gz")):
        raise ValueError(f"{name} gives networks scores and no parameters; it is for --protocol nas")
    raise ValueError(
        f"there is no model {name!r}; accepted: {', '.join(METHODS)}, NAME.STEPS of {' and '.join(_LEARNT)}, "
        f"{PREFIX}PATH, weights of a GHN ({', '.join(list_models(weights=True)[:4])}, ...) or the folder of a "
        f"checkpoint, and NAME{SUFFIX} of a GHN"
    )
