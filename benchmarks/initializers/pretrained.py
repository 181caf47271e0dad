"""Initializer from trained weights of torchvision, in files of the user."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.core.model_names import PRETRAINED_RECORD_PREFIX
from benchmarks.initializers.base import InitContext, Initializer
from deepnets.utils.errors import InputError, one_line
from ghn_models.checkpoints import folder as checkpoints

_KINDS = (".safetensors", ".pth", ".pt")
_COUNT = "num_batches_tracked"
_RENAMED = (  # since torchvision made its files
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)


def pretrained_initializer(source: Path) -> Initializer:
    """Return the initializer that copies a state dictionary with the names of the network, batch norm statistics too.

    Classifiers for other classes, auxiliary ones too, keep their initialization, as fine-tuning needs it; without
    training the network fails.

    Args:
        source: a file (.safetensors, or .pth with tensors alone), or a folder with one for each network: NAME.pth, or
            as torchvision downloads them, say NAME-0a1b2c3d.pth.

    Raises:
        InputError: there are no such files, or one is damaged or has more than tensors.
    """
    files = [source] if source.is_file() else sorted(p for p in source.glob("*") if p.suffix in _KINDS)
    if not files or files[0].suffix not in _KINDS:
        raise InputError(f"{source} is neither a file of weights ({', '.join(_KINDS)}) nor a folder with some")
    digests = [checkpoints.sha256(file) for file in files]
    for file in files:
        read_state(file)  # so that what is damaged is said at once
    sha256 = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def apply(model: nn.Module, context: InitContext) -> None:
        file = source if source.is_file() else _file_of(files, context.name)
        fill(model, read_state(file), context.needs_classifier, f"{file.name} does not fit {context.name}")

    return Initializer(f"{PRETRAINED_RECORD_PREFIX}{sha256[:6]}", apply, sha256, running_statistics=True)


def _file_of(files: list[Path], name: str) -> Path:
    stems = {name, *_downloads(name)}
    matches = [file for file in files if file.stem in stems or file.stem.rpartition("-")[0] == name]
    if len(matches) != 1:
        raise InputError(f"there are {len(matches)} files with weights of {name}; there must be one, {name}.pth")
    return matches[0]


def _downloads(name: str) -> set[str]:
    """Return the names of torchvision's files for a network, without the ending: not all have the network's name."""
    from torchvision.models import get_model_weights, list_models  # torchvision takes a second

    return {Path(weights.url).stem for weights in get_model_weights(name)} if name in list_models() else set()


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a file; nothing else is unpickled.

    Raises:
        InputError: the file is damaged, or has more than tensors.
    """
    try:
        safe = file.suffix == ".safetensors"
        state = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # many kinds, depending on what is damaged
        reason = one_line(error).split(". ")[0]
        raise InputError(f"{file.name} has no weights that can be read ({reason})") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{file.name} is not a state dictionary: it has more than named tensors")
    return {_current(name): value for name, value in state.items()}


def _current(name: str) -> str:
    for old, new in _RENAMED:
        name = old.sub(new, name)
    return name


@torch.no_grad()
def fill(model: Any, state: dict[str, Tensor], needs_classifier: bool, wrong: str) -> None:
    """Copy a state dictionary into a network; classifiers for other classes keep their initialization.

    Args:
        model: the network.
        state: tensors by name.
        needs_classifier: the network is not trained afterwards, so its classifier must be there.
        wrong: how the sentence of an error begins.

    Raises:
        InputError: names or shapes differ.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.endswith(_COUNT)}
    num_classes = [len(p) for p in model.parameters() if p.dim() >= 2][-1]
    for name, value in own.items():
        if name not in state:
            raise InputError(f"{wrong}: it has no {name}")
        stored, needed = tuple(state[name].shape), tuple(value.shape)
        if stored == needed:
            continue
        if needed[:1] != (num_classes,) or stored[1:] != needed[1:]:
            raise InputError(
                f"{wrong}: {name} is {stored} there and {needed} here (weights for ImageNet need --image-size 224)"
            )
        if needs_classifier:
            raise InputError(f"{wrong}: it is for {stored[0]} classes, and there are {num_classes}")
    more = [name for name in state if name not in own and not name.endswith(_COUNT)]
    if more:
        raise InputError(f"{wrong}: it has {more[0]}, and the network does not")
    for name, value in own.items():
        if state[name].shape == value.shape:
            value.copy_(state[name])
    if hasattr(model, "transform_input"):  # trained weights of GoogLeNet and Inception are for images of another scale
        model.transform_input = True
