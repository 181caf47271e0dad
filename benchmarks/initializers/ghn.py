"""Initializers that predict parameters with a GHN."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.initializers.base import Apply, InitContext, Initializer, recordable
from deepnets.utils.errors import InputError
from ghn_models import GHN, CheckpointError, add_noise, create, list_models, load, orthogonalize
from ghn_models.checkpoints import folder as checkpoints

ORTH_SUFFIX = "_orth"
_ORTH_BETA = 3e-5  # noise of GHN-orth, without which equal channels have no orthogonal frame of their own


def ghn_initializer(name: str, device: str, orth_layer: int, untrained: "Untrained | None") -> Initializer:
    """Return a GHN as an initializer; NAME_orth makes its weights orthogonal (GHN-orth, Knyazev, 2022, section 3).

    Args:
        name: name of weights, or NAME_orth.
        device: device of the GHN.
        orth_layer: first layer that NAME_orth makes orthogonal.
        untrained: create a GHN with these random weights instead of loading one.

    Raises:
        InputError: the weights are missing.
    """
    base, orthogonal = parse_name(name)
    predictor = load_predictor(base, device, untrained)
    apply = predict_with(predictor.ghn, orth_layer if orthogonal else None)
    classes = predictor.ghn.config.num_classes
    return Initializer(predictor.name + ORTH_SUFFIX * orthogonal, apply, predictor.weights_sha256, classes)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A GHN in evaluation mode, its name in tables, and the hash of its weights."""

    ghn: GHN
    name: str
    weights_sha256: str | None


def load_predictor(name: str, device: str = "cpu", untrained: "Untrained | None" = None) -> Predictor:
    """Load the GHN of this name.

    Args:
        name: name of weights.
        device: device that the GHN runs on.
        untrained: create it with these random weights instead of loading any.

    Raises:
        InputError: the weights are missing.
    """
    if untrained is not None:
        return Predictor(untrained.create(name).to(device).eval(), f"{name}.random", None)
    folder = find_weights(name)
    about, sha256 = checkpoints.read_metadata(folder), checkpoints.sha256(folder / checkpoints.WEIGHTS)
    is_ours = folder.resolve().parent in (checkpoints.SHIPPED.resolve(), checkpoints.cache_dir().resolve())
    called = folder.name if is_ours else _name_of_own_weights(about, sha256)
    return Predictor(load(folder).to(device).eval(), called, sha256)


@dataclass(frozen=True)
class Untrained:
    """A GHN with random weights, to try things out.

    Args:
        num_classes, image_size: as for `ghn_models.create`.
        seed: seed of its weights.
    """

    num_classes: int
    image_size: int
    seed: int

    def create(self, name: str) -> GHN:
        """Create the GHN of this name."""
        torch.manual_seed(self.seed)
        return create(name, self.num_classes, self.image_size)


def is_ghn(name: str) -> bool:
    """Return whether this is the name of a GHN or of weights, or the folder of a checkpoint."""
    return checkpoints.is_checkpoint(name) or name in (*list_models(), *list_models(weights=True))


def parse_name(name: str) -> tuple[str, bool]:
    """Split NAME_orth into NAME and whether to make weights orthogonal; a checkpoint folder may end with _orth, too."""
    orthogonal = name.endswith(ORTH_SUFFIX) and not is_ghn(name)
    return (name.removesuffix(ORTH_SUFFIX) if orthogonal else name), orthogonal


def find_weights(name: str) -> Path:
    """Return the folder of a GHN's weights.

    Raises:
        InputError: weights that are not at hand; says how to get them.
    """
    if checkpoints.is_checkpoint(name):
        return Path(name)
    try:
        return checkpoints.find(name, list_models())
    except CheckpointError as error:
        if os.path.isdir(name) and not is_ghn(name):
            raise
        model = name.split(".")[0]
        reason = str(error).split("; ghn_models.create")[0]
        train = f"train it (python -m ghn_models.train --model {model})"
        raise InputError(
            f"{reason}; {'or ' if 'convert' in reason else ''}{train}, or try it with --random-weights"
        ) from None


def _name_of_own_weights(about: dict[str, Any], sha256: str) -> str:
    """Return the name in tables of weights that the user has trained."""
    words = (recordable(str(about.get(key, default))) for key, default in (("model", "ghn"), ("dataset", "custom")))
    return f"{'.'.join(words)}-{sha256[:6]}"


def predict_with(ghn: GHN, orth_layer: int | None) -> Apply:
    """Return a function that predicts the parameters of a network with a GHN and adds noise.

    Orthogonal weights get noise also where the protocol adds none: a QR decomposition of equal channels would depend on
    rounding alone.

    Args:
        ghn: predicts the parameters.
        orth_layer: first layer whose weights are made orthogonal; None leaves all as they are.
    """

    def apply(model: nn.Module, context: InitContext) -> None:
        kept = ghn.initialize(model, context.image_size, context.graph)
        if not context.initialized:
            _initialize(model, kept)
        usual = 0.0 if orth_layer is None else _ORTH_BETA
        beta = usual if context.beta is None else context.beta
        if beta:
            add_noise(model, beta, orth_layer or 0, context.generator)
        if orth_layer is not None:
            orthogonalize(model, orth_layer)

    return apply


def orthogonal_initializer(base: Initializer, orth_layer: int) -> Initializer:
    """Return an initializer whose weights are made orthogonal after a little noise, as GHN-orth does (section 5).

    Args:
        base: the initializer, such as trained weights.
        orth_layer: first layer that is made orthogonal.
    """

    def apply(model: nn.Module, context: InitContext) -> None:
        base.apply(model, context)
        add_noise(model, _ORTH_BETA if context.beta is None else context.beta, orth_layer, context.generator)
        orthogonalize(model, orth_layer)

    return replace(base, name=base.name + ORTH_SUFFIX, apply=apply)


def _initialize(model: nn.Module, names: Iterable[str]) -> None:
    """Give the layers of these parameters PyTorch's random initialization."""
    for name in dict.fromkeys(name.rpartition(".")[0] for name in names):
        layer: Any = model.get_submodule(name)
        layer.reset_parameters()
