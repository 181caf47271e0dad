"""Convert published weights, once.

    python -m ghn_models.convert ghn3_t.imagenet_m8 --hub --trust --allow-unpinned
    python -m ghn_models.convert ghn2.cifar10 --file ghn2_cifar10.pt --trust --sha256 HASH

Published weights are pickles, a format whose files can run programs. Only this command reads them, after you have said
that you trust the file (--trust), and after its sha256 was compared with the one you expect (--sha256; --allow-unpinned
goes without). Of what a pickle can ask for, only tensors and containers are made; everything else is refused before it
is called. The result is a folder with safetensors, which `ghn_models.load` reads.
"""

import argparse
import bz2
import hashlib
import io
import lzma
import pickle
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

import torch
from torch import Tensor

from deepnets.networks.skip_init import on_meta_without_init
from deepnets.utils.bounded_files import read_at_most
from deepnets.utils.command_line import run_command
from deepnets.utils.errors import one_line
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.checkpoints.folder import CheckpointError
from ghn_models.checkpoints.published import HUB, PUBLISHED, from_published
from ghn_models.hypernetwork import GHN
from ghn_models.registry import model_config

REVISION = "main"
_WITH_OPTIMIZER = 3  # two moments of each weight beside the weights


def convert(
    name: str, path: Path, folder: Path, trust: bool, sha256: str | None = None, allow_unpinned: bool = False
) -> Path:
    """Write the checkpoint of a published file and return its folder.

    Args:
        name: of the weights, one of `PUBLISHED`.
        path: the published file.
        folder: of the checkpoint to write.
        trust: whether the user trusts the file.
        sha256: of the file.
        allow_unpinned: whether to accept a file without a known hash.

    Raises:
        CheckpointError: no trust, another hash, a file that is not a state dict of tensors, or one of another
            model.
    """
    pinned = _expected_hash(name, trust, sha256, allow_unpinned)
    if not path.is_file():
        raise CheckpointError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    published = PUBLISHED[name]
    config = model_config(published.model, *published.task)
    with on_meta_without_init():
        ghn = GHN(config)
    max_bytes = checkpoints.max_weights_bytes(ghn) * (_WITH_OPTIMIZER if published.kind == "torch" else 1)
    data = read_at_most(path, max_bytes)  # once, so that what is read is what was compared
    digest = hashlib.sha256(data).hexdigest()
    if pinned is not None and digest != pinned.lower():
        raise CheckpointError(f"{path} has sha256 {digest}, not {pinned}")
    try:
        state = read_state_dict(data, published.kind, max_bytes)
        checkpoints.load_state_strict(ghn, from_published(state, config), "the file")
    except Exception as error:  # whatever a damaged or hostile file makes of its readers
        raise CheckpointError(f"{path} is not {name} ({one_line(error)})") from None
    source = {"source": f"{published.source}, {published.file}", "source_sha256": digest}
    checkpoints.save_folder(ghn, folder, {"name": name, "dataset": published.dataset, **source})
    return folder


def _expected_hash(name: str, trust: bool, sha256: str | None, allow_unpinned: bool) -> str | None:
    """Return the hash that a published file must have, if any.

    Raises:
        CheckpointError: the user does not trust the file, or has no hash and did not say to go without.
    """
    published = PUBLISHED[name]
    if not trust:
        raise CheckpointError(
            f"{published.file} is a pickle, whose content could be harmful; say that you trust it with --trust"
        )
    pinned = sha256 or published.sha256
    if pinned is None and not allow_unpinned:
        raise CheckpointError(
            f"no hash of {published.file} is known to compare it with; give the one you know (--sha256) or "
            "--allow-unpinned"
        )
    return pinned


def read_state_dict(data: bytes, kind: Literal["joblib", "torch"], max_bytes: int) -> dict[str, Tensor]:
    """Return tensors by name, from a file that is read as data alone.

    Args:
        data: content of the file.
        kind: as in `Published`.
        max_bytes: of its decompressed content.

    Raises:
        CheckpointError: a file with anything but tensors and containers. A damaged file may raise any other exception.
    """
    joblib = kind == "joblib"
    content = (
        TensorUnpickler(io.BytesIO(_decompress(data, max_bytes))).load() if joblib else _torch_load(data, max_bytes)
    )
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise CheckpointError("it has no state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError("it is not a state dict, which has only tensors and their names")
    return {name: Tensor.detach(value) for name, value in content.items()}  # leaves hooks and attributes behind


def _decompress(data: bytes, max_bytes: int) -> bytes:
    """Decompress as joblib does, which marks the format in the first bytes."""
    readers: dict[bytes, Callable[[], Any]] = {
        b"\x78": zlib.decompressobj,
        b"\x1f\x8b": lambda: zlib.decompressobj(31),
        b"BZh": bz2.BZ2Decompressor,
        b"\xfd7zXZ": lzma.LZMADecompressor,
        b"\x5d\0\0": lzma.LZMADecompressor,
    }
    reader = next((make() for magic, make in readers.items() if data.startswith(magic)), None)
    if reader is None:
        return data
    content: bytes = reader.decompress(data, max_bytes)
    if not reader.eof:
        raise CheckpointError("its compressed content is cut off, or larger than the model")
    return content


def _torch_load(data: bytes, max_bytes: int) -> Any:
    """Load a file of torch, of no more than `max_bytes`."""
    if len(data) > max_bytes:
        raise CheckpointError("it is larger than the model")
    if data.startswith(b"PK"):
        data = _rewrite_zip(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # whose text says how to run it nevertheless
            raise CheckpointError("it is damaged, or asks for more than tensors, which was not run") from None


def _rewrite_zip(data: bytes) -> bytes:
    """Return a zip file of torch, which does not compress, as Python reads it.

    Two readers can find two tables of contents in one file: what torch gets is what was checked here, and no more of it
    than the file has bytes.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as file, zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as checked:
        entries = file.infolist()
        if sum(entry.file_size for entry in entries) > len(data):
            raise CheckpointError("its content is larger than the file, which torch does not compress")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError("its content is compressed, which torch does not do")
            checked.writestr(entry.filename, file.read(entry))
    return content.getvalue()


def _storage(data: bytes) -> Tensor:
    """Return the storage of a tensor, a file inside of the pickle, as a tensor of one dimension."""
    storage = _torch_load(data, len(data))
    if not isinstance(storage, torch.storage.TypedStorage):  # say a class, which the pickle around it could call
        raise CheckpointError("the pickle has something else in the place of a storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """Return a part of a storage; `as_strided` refuses what lies outside, which torch's own function allocates."""
    return storage.as_strided(size, stride, offset)


def _dictionary() -> dict[str, Any]:
    return {}


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _dictionary,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch.storage", "_load_from_bytes"): _storage,
}
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST
    APPEND APPENDS EMPTY_DICT BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
"""


class TensorUnpickler(pickle._Unpickler):  # the only one of the project
    """Reader of pickles of tensors, which refuses anything else before it is run.

    It derives from the unpickler written in Python, whose instructions can be chosen, and which allocates nothing that
    the file does not have.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle may call."""
        if (module, name) not in _ALLOWED:
            request = f"{module}.{name}"[:80]
            raise CheckpointError(f"the pickle asks for {request!r}, which no file of tensors needs; it was not run")
        return _ALLOWED[module, name]

    def refuse(self) -> NoReturn:
        """Refuse an instruction that files of tensors do not need."""
        raise CheckpointError("the pickle has an instruction that no file of tensors needs; it was not run")

    def set_item(self) -> None:
        """Set one entry of a dictionary."""
        self._set_items([self.stack.pop(-2), self.stack.pop()])

    def set_items(self) -> None:
        """Set some entries of a dictionary."""
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        target, names = self.stack[-1], items[::2]
        if type(target) is not dict or any(type(name) is not str for name in names):  # deep tuples as keys crash Python
            self.refuse()
        target.update(zip(names, items[1::2], strict=True))

    def build(self) -> None:
        """Ignore attributes of objects: tensors and dictionaries need none, and functions must not be changed."""
        self.stack.pop()

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **dict.fromkeys(range(256), refuse),
        **{
            code: pickle._Unpickler.dispatch[code]
            for code in (getattr(pickle, name)[0] for name in _INSTRUCTIONS.split())
        },
        pickle.SETITEM[0]: set_item,
        pickle.SETITEMS[0]: set_items,
        pickle.BUILD[0]: build,
    }


def download(name: str) -> Path:
    """Download a published file from the Hugging Face hub and return its path.

    Raises:
        CheckpointError: the file or the hub cannot be reached, or huggingface_hub is not installed.
    """
    published = PUBLISHED[name]
    local = f"download {published.file} from {published.source} and give it with --file"
    if published.kind != "joblib":
        raise CheckpointError(f"{name} is not on the hub; {local}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise CheckpointError(f"downloads need `pip install 'deepnets1m[hub]'`; or {local}") from None
    try:
        return Path(hf_hub_download(HUB, published.file, revision=REVISION))
    except Exception as error:  # whatever the network does
        raise CheckpointError(f"{published.file} cannot be downloaded ({type(error).__name__}); {local}") from None


def main(arguments: list[str] | None = None) -> int:
    """The command, see `run_command`."""
    return run_command(lambda: _main(arguments), arguments)


def _main(arguments: list[str] | None) -> int:
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
    folder = args.out or checkpoints.cache_dir() / args.name
    if (folder / checkpoints.CONFIG).exists():
        raise CheckpointError(f"{folder} has a checkpoint; choose another folder with --out")
    _expected_hash(args.name, args.trust, args.sha256, args.allow_unpinned)  # before anything is fetched
    path = download(args.name) if args.hub else args.file
    convert(args.name, path, folder, args.trust, args.sha256, args.allow_unpinned)
    print(f"{args.name} is in {folder}; ghn_models.load({str(args.out or args.name)!r}) reads it from there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
