"""Checkpoint folders: `config.json` and `model.safetensors`. Nothing here unpickles."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from deepnets.networks.skip_init import on_meta_without_init
from deepnets.utils.atomic_files import write_json
from deepnets.utils.bounded_files import read_json_at_most
from deepnets.utils.errors import InputError, one_line, unknown_choice
from ghn_models.checkpoints.published_files import PUBLISHED
from ghn_models.config import GHNConfig
from ghn_models.hypernetwork import GHN
from ghn_models.utils.cache import cache_folder

SHIPPED = Path(__file__).parents[1] / "weights"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_OWN_SHA256 = "config_sha256"
_MAX_CONFIG_BYTES = 2**22
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class CheckpointError(InputError):
    """A checkpoint is missing or cannot be used; the message is one sentence for the user."""


def cache_dir() -> Path:
    """Return the folder of converted weights: `$DEEPNETS_HOME/weights`, by default in ~/.cache/deepnets."""
    return cache_folder("weights")


def known_weights() -> list[str]:
    """Return the names that `load` accepts: shipped weights first, then published ones."""
    shipped = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))
    return [*shipped, *(name for name in PUBLISHED if name not in shipped)]


def is_checkpoint(name: str | Path) -> bool:
    """Tell whether a path is the folder of a checkpoint; what cannot be a path, say for its length, is none."""
    return os.path.isfile(os.path.join(name, CONFIG))


def find(name: str, models: list[str]) -> Path:
    """Return the folder of a checkpoint.

    Args:
        name: a folder, the name of weights, or the name of a model for its default weights.
        models: names of all models.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    if is_checkpoint(name):
        return Path(name)
    known = known_weights()
    full = name if name in known else next((w for w in known if w.split(".")[0] == name), None)
    if full is None:
        if name in models:
            raise CheckpointError(f"there are no weights of {name}; ghn_models.create({name!r}) makes an untrained one")
        if os.sep in name or os.path.exists(name):
            best = Path(name) / "best"
            advice = f"; did you mean {best}?" if is_checkpoint(best) else ""
            raise CheckpointError(f"{name} is not a checkpoint: it has no {CONFIG}{advice}")
        raise CheckpointError(unknown_choice("weights", name, known, "the folder of a checkpoint"))
    for folder in (SHIPPED / full, cache_dir() / full):
        if is_checkpoint(folder):
            return folder
    published = PUBLISHED[full]
    hub = "--hub instead of --file downloads it, " if published.kind == "joblib" else ""
    raise CheckpointError(
        f"{full} is not in {cache_dir()}: convert the published file {published.file} from {published.source} with "
        f"`python -m ghn_models.convert {full} --file FILE --trust --sha256 HASH` ({hub}--allow-unpinned instead of "
        "--sha256 goes without its hash)"
    )


def save_folder(ghn: GHN, folder: Path, metadata: dict[str, Any], half: bool = False) -> None:
    """Write a checkpoint. `config.json` comes last: a folder without it is not a checkpoint yet.

    Args:
        ghn: the GHN.
        folder: a folder without a checkpoint.
        metadata: content of `config.json` besides the configuration: data, recipe, seed, source.
        half: store float16.

    Raises:
        CheckpointError: the folder has a checkpoint, or cannot be written.
    """
    folder = folder.expanduser()
    if (folder / CONFIG).exists():
        raise CheckpointError(f"{folder} has a checkpoint; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in ghn.state_dict().items()}
    write_tensors({name: value.half() if half else value for name, value in state.items()}, folder / WEIGHTS)
    content = {"config": ghn.config.to_file(), "weights_sha256": sha256(folder / WEIGHTS), **metadata}
    write_json(folder / CONFIG, {**content, _OWN_SHA256: _hash_metadata(content)})


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        save_file(tensors, path)
    except (SafetensorError, RuntimeError) as error:  # a full disk, or weights that share memory
        raise CheckpointError(f"{path} cannot be written ({one_line(error)})") from None


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return the content of `config.json`.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        content = read_json_at_most(folder / CONFIG, _MAX_CONFIG_BYTES)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read ({one_line(error)})") from None
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise CheckpointError(f"{folder / CONFIG} has no configuration")
    if not isinstance(content.get("weights_sha256"), str):
        raise CheckpointError(f"{folder / CONFIG} has no sha256 of the weights")
    if _OWN_SHA256 in content and content[_OWN_SHA256] != _hash_metadata(content):  # older files have none
        raise CheckpointError(f"{folder / CONFIG} is damaged: its content does not match its sha256")
    return content


def _hash_metadata(content: Mapping[str, Any]) -> str:
    """Return the sha256 of the content of a `config.json`, without its own."""
    others = {key: value for key, value in content.items() if key != _OWN_SHA256}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def load_folder(folder: Path) -> GHN:
    """Return the GHN of a checkpoint.

    Raises:
        CheckpointError: a file is missing or damaged, or weights do not fit the configuration.
    """
    metadata = read_metadata(folder)
    try:
        config = GHNConfig.from_file(metadata["config"])
        with on_meta_without_init():
            ghn = GHN(config)
    except (InputError, RuntimeError, MemoryError) as error:  # the last two: sizes beyond any memory
        raise CheckpointError(f"{folder / CONFIG}: {one_line(error)}") from None
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing")
    largest = max_weights_bytes(ghn)
    if weights.stat().st_size > largest:
        raise CheckpointError(f"{weights} has more than {largest:,} bytes, which its configuration has no use for")
    check_sha256(weights, metadata.get("weights_sha256"), CONFIG)
    load_state_strict(ghn, read_tensors(weights), str(weights))
    return ghn


def max_weights_bytes(ghn: GHN) -> int:
    """Return the largest number of bytes that a file with a GHN's weights can have: float64 and a header."""
    count: int = sum(value.numel() for value in ghn.state_dict().values())
    return 8 * count + 2**20


def check_sha256(path: Path, expected: str | None, source: str) -> None:
    """Raise CheckpointError if a file is not the one whose hash was written down; without a hash nothing is compared.

    Args:
        path: the file.
        expected: the sha256 that it must have; None if it is not known.
        source: name of the file that has the hash, for messages.
    """
    if expected is not None and sha256(path) != expected:
        raise CheckpointError(f"{path} is damaged: its sha256 is not the one in {source}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a complete safetensors file ({one_line(error)})") from None


def load_state_strict(ghn: GHN, state: dict[str, Tensor], source: str) -> None:
    """Check weights with `check_state`, and set them as a GHN's parameters, in float32.

    The tensors become the parameters; those that are float32 are not copied. So the GHN may be on the meta device.
    """
    check_state(ghn, state, source)
    ghn.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)


def check_state(ghn: GHN, state: dict[str, Tensor], source: str) -> None:
    """Check that tensors are weights of a GHN.

    Args:
        ghn: the GHN.
        state: all weights by name.
        source: name of their file, for messages.

    Raises:
        CheckpointError: names or shapes that do not fit the configuration, or tensors without finite floating-point
            numbers.
    """
    expected = {name: value.shape for name, value in ghn.state_dict().items()}
    for name, shape in expected.items():
        if name not in state:
            raise CheckpointError(f"{source} has no {name}, which its configuration needs")
        value = state[name]
        if value.shape != shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(value.shape)}, its configuration needs {tuple(shape)}"
            )
        if value.dtype not in _FLOATS or value.layout is not torch.strided or value.is_meta:
            raise CheckpointError(f"{source}: {name} is not a dense tensor of floating-point numbers")
        if not value.isfinite().all():
            raise CheckpointError(f"{source}: {name} has numbers that are not finite")
    for name in state:
        if name not in expected:
            raise CheckpointError(f"{source} has {name[:80]!r}, which its configuration does not know")


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
