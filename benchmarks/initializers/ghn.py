"""Parameters that GHNs predict."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.initializers.base import Apply, InitContext, Initializer, recordable
from ghn_models import GHN, CheckpointError, add_noise, create, list_models, load, orthogonalize
from ghn_models.checkpoints import folder as checkpoints

ORTH_SUFFIX = "_orth"
_ORTH_BETA = 3e-5  # noise of GHN-orth, without which equal channels have no orthogonal frame of their own


def ghn_initializer(name: str, device: str, orth_layer: int, untrained: "Untrained | None") -> Initializer:
    """A GHN, or one whose predicted weights are made orthogonal: GHN-orth (Knyazev, 2022, section 3).

    Args:
        name: of weights, or NAME_orth.
        device: of the GHN.
        orth_layer: the first layer that NAME_orth makes orthogonal.
        untrained: make a GHN with random weights instead of loading one.

    Raises:
        ValueError: weights that are not at hand.
    """
    base, orthogonal = parse_name(name)
    found = load_predictor(base, device, untrained)
    apply = predict_with(found.ghn, orth_layer if orthogonal else None)
    classes = found.ghn.config.num_classes
    return Initializer(found.name + ORTH_SUFFIX * orthogonal, apply, found.weights_sha256, classes)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A GHN in evaluation mode, its name in tables, and the hash of its weights."""

    ghn: GHN
    name: str
    weights_sha256: str | None


def load_predictor(name: str, device: str = "cpu", untrained: "Untrained | None" = None) -> Predictor:
    """The GHN of this name.

    Args:
        name: of weights.
        device: where it runs.
        untrained: make it with random weights instead of loading them.

    Raises:
        ValueError: weights that are not at hand.
    """
    if untrained is not None:
        return Predictor(untrained.create(name).to(device).eval(), f"{name}.random", None)
    folder = find_weights(name)
    about, sha256 = checkpoints.read_metadata(folder), checkpoints.sha256(folder / checkpoints.WEIGHTS)
    known = folder.resolve().parent in (checkpoints.SHIPPED.resolve(), checkpoints.cache_dir().resolve())
    called = folder.name if known else _called(about, sha256)
    return Predictor(load(folder).to(device).eval(), called, sha256)


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


def is_ghn(name: str) -> bool:
    """Whether a name is that of a GHN, of weights, or the folder of a checkpoint."""
    return (Path(name) / checkpoints.CONFIG).is_file() or name in (*list_models(), *list_models(weights=True))


def parse_name(name: str) -> tuple[str, bool]:
    """NAME of NAME_orth, and whether it is to be made orthogonal; the folder of a checkpoint may be called so, too."""
    orthogonal = name.endswith(ORTH_SUFFIX) and not is_ghn(name)
    return (name.removesuffix(ORTH_SUFFIX) if orthogonal else name), orthogonal


def find_weights(name: str) -> Path:
    """Folder of a GHN's weights.

    Raises:
        ValueError: weights that are not at hand; says how to get them.
    """
    if (Path(name) / checkpoints.CONFIG).is_file():
        return Path(name)
    try:
        return checkpoints.find(name, list_models())
    except CheckpointError as error:
        if Path(name).is_dir() and not is_ghn(name):
            raise
        model = name.split(".")[0]
        reason = str(error).split("; ghn_models.create")[0]
        train = f"train it (python -m ghn_models.train --model {model})"
        raise ValueError(
            f"{reason}; {'or ' if 'convert' in reason else ''}{train}, or try it with --random-weights"
        ) from None


def _called(about: dict[str, Any], sha256: str) -> str:
    """Name of weights that are nobody's but the user's."""
    words = (recordable(str(about.get(key, default))) for key, default in (("model", "ghn"), ("dataset", "custom")))
    return f"{'.'.join(words)}-{sha256[:6]}"


def predict_with(ghn: GHN, orth_layer: int | None) -> Apply:
    """Predicts parameters, adds noise, and makes weights from a layer on orthogonal unless it is None.

    Orthogonal weights begin with noise also where the protocol adds none: a QR decomposition of equal channels follows
    from rounding alone.
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


def _initialize(model: nn.Module, names: Iterable[str]) -> None:
    """Give the layers of these parameters PyTorch's random initialisation."""
    for name in dict.fromkeys(name.rpartition(".")[0] for name in names):
        layer: Any = model.get_submodule(name)
        layer.reset_parameters()
