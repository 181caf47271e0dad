"""Converts published weights once.

    python -m ghn_models.convert ghn3_t.imagenet_m8 --hub --trust
    python -m ghn_models.convert ghn2.cifar10 --file ghn2_cifar10.pt --trust --sha256 HASH

Published weights are pickles, a format whose files can run programs. This is the only place that reads them, after you
said that you trust the file (--trust), and after its sha256 was compared with a pinned one (--sha256, or ours where we
have it; --allow-unpinned to go without). Of what a pickle can ask for, only tensors and containers are made; anything
else is refused before it is called. The result is a folder with safetensors, from which `ghn_models.load` reads.
"""

import argparse
import bz2
import gzip
import io
import lzma
import pickle
import sys
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ghn_models import checkpoints
from ghn_models.checkpoints import CheckpointError
from ghn_models.hypernetwork import GHN
from ghn_models.published import HUB, PUBLISHED, Published, from_published
from ghn_models.registry import config

REVISION = "main"


def convert(
    name: str, path: Path, folder: Path, trust: bool, sha256: str | None = None, allow_unpinned: bool = False
) -> Path:
    """Writes the checkpoint of a published file.

    Args:
        name: of the weights, one of `PUBLISHED`.
        path: the file.
        folder: where the checkpoint shall be.
        trust: the user trusts the file.
        sha256: what the file must have.
        allow_unpinned: accept a file without a known hash.

    Raises:
        CheckpointError: no trust, another hash, a file that is no state dict of tensors, or of another model.
    """
    published = PUBLISHED[name]
    if not trust:
        raise CheckpointError(f"{path} is a pickle, whose content could be harmful; say that you trust it with --trust")
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    found, pinned = checkpoints.sha256(path), sha256 or published.sha256
    if pinned is None and not allow_unpinned:
        raise CheckpointError(
            f"no hash of {published.file} is known to compare {path} with; give the one you know (--sha256) or "
            "--allow-unpinned"
        )
    if pinned is not None and found != pinned.lower():
        raise CheckpointError(f"{path} has sha256 {found}, not {pinned}")
    state = state_dict(path, published)
    settings = config(published.model, published.num_classes, published.image_size)
    with torch.device("meta"):
        ghn = GHN(settings)
    try:
        checkpoints.fill(ghn, {k: v.float() for k, v in from_published(state, settings).items()}, str(path))
    except ValueError as error:
        raise CheckpointError(f"{path} is not {name}: {error}") from None
    source = {"name": name, "source": f"{published.source}, {published.file}", "source_sha256": found}
    checkpoints.save_folder(ghn, folder, source)
    return folder


def state_dict(path: Path, published: Published) -> dict[str, Tensor]:
    """Tensors by name, from a file that is read as data alone.

    Raises:
        CheckpointError: a damaged file, or one with anything but tensors and containers.
    """
    try:
        if published.kind == "joblib":
            content = TensorUnpickler(io.BytesIO(_decompressed(path.read_bytes()))).load()
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes of the reader
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise CheckpointError(f"{path} is no file of tensors ({reason})") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} is no state dict: it holds other things than tensors")
    return {str(name): value for name, value in content.items()}


def _decompressed(data: bytes) -> bytes:
    """joblib compresses with what the first bytes say."""
    readers: dict[bytes, Callable[[bytes], bytes]] = {
        b"\x78": zlib.decompress,
        b"\x1f\x8b": gzip.decompress,
        b"BZh": bz2.decompress,
        b"\xfd7zXZ": lzma.decompress,
    }
    return next((read(data) for magic, read in readers.items() if data.startswith(magic)), data)


def _storage(data: bytes) -> Any:
    """The storage of a tensor, which is a file of its own inside of a pickle."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


class _Call:
    """A function that a pickle may call, but neither look into nor change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise CheckpointError("the pickle changes a function, which no file of tensors needs; it was not run")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Call(OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Call(lambda data, *_: data),
    ("torch.storage", "_load_from_bytes"): _Call(_storage),
}


class TensorUnpickler(pickle.Unpickler):  # the only one of the project
    """Reads pickles of tensors; refuses to look up any other function before it could be called."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call."""
        if (module, name) not in _ALLOWED:
            raise CheckpointError(
                f"the pickle asks for {module}.{name}, which no file of tensors needs; it was not run"
            )
        return _ALLOWED[module, name]


def download(name: str) -> Path:
    """Fetches a published file from the Hugging Face hub.

    Raises:
        CheckpointError: it is not there, the hub cannot be reached, or huggingface_hub is not installed.
    """
    published = PUBLISHED[name]
    local = f"download {published.file} from {published.source} and give it with --file"
    if published.kind != "joblib":
        raise CheckpointError(f"{name} is not on the hub; {local}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise CheckpointError(f"downloads need `pip install 'deepnets[hub]'`; or {local}") from None
    try:
        return Path(hf_hub_download(HUB, published.file, revision=REVISION))
    except Exception as error:  # whatever the network does
        raise CheckpointError(f"{published.file} cannot be downloaded ({type(error).__name__}); {local}") from None


def main(arguments: list[str] | None = None) -> int:
    """The command; 2 if it was given something it cannot use."""
    parser = argparse.ArgumentParser(
        prog="python -m ghn_models.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=PUBLISHED, metavar="NAME", help=", ".join(PUBLISHED))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", type=Path, help="the published file")
    source.add_argument("--hub", action="store_true", help="download it from the Hugging Face hub")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint; by default where ghn_models.load finds it")
    parser.add_argument("--trust", action="store_true", help="you trust the file, which is a pickle")
    parser.add_argument("--sha256", help="of the file")
    parser.add_argument("--allow-unpinned", action="store_true", help="accept a file without a known hash")
    args = parser.parse_args(arguments)
    folder = args.out or checkpoints.cache() / args.name
    try:
        if (folder / checkpoints.CONFIG).exists():
            raise CheckpointError(f"{folder} has a checkpoint; choose another folder with --out")
        if not args.trust:
            raise CheckpointError(
                f"{args.name} is a pickle, which could be harmful; say that you trust it with --trust"
            )
        path = download(args.name) if args.hub else args.file
        convert(args.name, path, folder, args.trust, args.sha256, args.allow_unpinned)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.name} is in {folder}; ghn_models.load({args.name!r}) reads it from there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
