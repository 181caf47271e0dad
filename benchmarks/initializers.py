"""What gives networks their parameters: GHNs, and the initialisations that they are compared with.

randinit            PyTorch's own random initialisation
orth                orthogonal weights (Saxe et al., 2014)
NAME                a GHN: weights as for `ghn_models.load` ("ghn3_t", "ghn3_t.digits", a folder)
NAME_orth           a GHN whose predicted weights are made orthogonal (GHN-orth, Knyazev, 2022)
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepnets import ArchGraph
from ghn_models import GHN, CheckpointError, add_noise, checkpoints, create, list_models, load, orthogonalize

_SUFFIX = "_orth"


@dataclass(frozen=True, eq=False)
class Initializer:
    """Gives a network its parameters.

    Args:
        name: what it is called in tables.
        apply: changes a network with PyTorch's initialisation in place; gets its graph, if it is at hand, the size of
            images, the strength of noise on predicted weights, and a generator of random numbers.
        weights_sha256: of the weights of a GHN.
        about: what the checkpoint of a GHN says of itself.
        num_classes: that the classifier is predicted for.
    """

    name: str
    apply: Callable[[nn.Module, ArchGraph | None, int, float, torch.Generator], None]
    weights_sha256: str | None = None
    about: dict[str, Any] | None = None
    num_classes: int | None = None


_RANDOM: dict[str, Callable[[nn.Module], None]] = {}


def _random(function: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
    _RANDOM[function.__name__] = function
    return function


@_random
def randinit(model: nn.Module) -> None:
    """RandInit: what PyTorch and the network itself do when it is built."""


@_random
def orth(model: nn.Module) -> None:
    """Orth: orthogonal weights of convolutions and linear layers but the classifier (Saxe et al., 2014)."""
    orthogonalize(model)


def initializers() -> list[str]:
    """Names of initialisations that are no GHN."""
    return list(_RANDOM)


def initializer(
    name: str, device: str = "cpu", orth_layer: int = 0, untrained: "Untrained | None" = None
) -> Initializer:
    """What gives networks their parameters.

    Args:
        name: see the head of this file.
        device: of the GHN.
        orth_layer: the first layer that NAME_orth makes orthogonal.
        untrained: make a GHN with random weights instead of loading one.

    Raises:
        ValueError: an unknown name, or weights that are not at hand.
    """
    if name in _RANDOM:
        return Initializer(name, _plain(_RANDOM[name]))
    base, orthogonal = (name.removesuffix(_SUFFIX), True) if name.endswith(_SUFFIX) else (name, False)
    found = predictor(base, device, untrained)
    apply = _predicting(found.ghn, orth_layer if orthogonal else None)
    classes = found.ghn.config.num_classes
    return Initializer(found.name + _SUFFIX * orthogonal, apply, found.weights_sha256, found.about, classes)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A GHN in evaluation mode, its name in tables, the hash of its weights, and what they say of themselves."""

    ghn: GHN
    name: str
    weights_sha256: str | None
    about: dict[str, Any] | None


def predictor(name: str, device: str = "cpu", untrained: "Untrained | None" = None) -> Predictor:
    """The GHN of this name.

    Args:
        name: weights as for `ghn_models.load`.
        device: where it runs.
        untrained: make it with random weights instead of loading them.

    Raises:
        ValueError: an unknown name, or weights that are not at hand.
    """
    if untrained is not None:
        return Predictor(untrained.create(name).to(device).eval(), f"{name}.random", None, None)
    folder = find_weights(name)
    about, sha256 = checkpoints.about(folder), checkpoints.sha256(folder / checkpoints.WEIGHTS)
    known = folder.resolve().parent in (checkpoints.SHIPPED.resolve(), checkpoints.cache().resolve())
    called = folder.name if known else _called(about, sha256)
    return Predictor(load(folder).to(device).eval(), called, sha256, about)


@dataclass(frozen=True)
class Untrained:
    """A GHN with random weights, to try things out.

    Args:
        num_classes, image_size: as for `ghn_models.create`.
        seed: of its weights.
    """

    num_classes: int
    image_size: int
    seed: int

    def create(self, name: str) -> GHN:
        """The GHN of this name."""
        torch.manual_seed(self.seed)
        return create(name, self.num_classes, self.image_size)


def find_weights(name: str) -> Path:
    """Folder of a GHN's weights.

    Raises:
        ValueError: an unknown name, or weights that are not at hand; says how to get them.
    """
    if (Path(name) / checkpoints.CONFIG).is_file():
        return Path(name)
    if name in (*list_models(), *list_models(weights=True)):
        try:
            return checkpoints.find(name, list_models())
        except CheckpointError as error:
            model = name.split(".")[0]
            reason = str(error).split("; ghn_models.create")[0]
            train = f"train it (python -m ghn_models.train --model {model})"
            raise ValueError(
                f"{reason}; {'or ' if 'convert' in reason else ''}{train}, or try it with --random-weights"
            ) from None
    raise ValueError(
        f"there is no model {name!r}; accepted: {', '.join(_RANDOM)}, weights of a GHN "
        f"({', '.join(list_models(weights=True)[:4])}, ...), or the folder of a checkpoint; and NAME_orth of a GHN"
    )


def _called(about: dict[str, Any], sha256: str) -> str:
    """Name of weights that are nobody's but the user's."""
    return f"{about.get('model', 'ghn')}.{about.get('dataset', 'custom')}-{sha256[:6]}"


def _plain(function: Callable[[nn.Module], None]) -> Callable[..., None]:
    return lambda model, *_: function(model)


def _predicting(ghn: GHN, orth_layer: int | None) -> Callable[..., None]:
    def apply(
        model: nn.Module, graph: ArchGraph | None, image_size: int, beta: float, generator: torch.Generator
    ) -> None:
        ghn(model, image_size, graph)
        if beta:
            add_noise(model, beta, orth_layer or 0, generator)
        if orth_layer is not None:
            orthogonalize(model, orth_layer)

    return apply
