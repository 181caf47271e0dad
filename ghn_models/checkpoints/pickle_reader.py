"""Reading of published weights, which are pickles: only tensors and containers are made, nothing else is called."""

import bz2
import io
import lzma
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NoReturn

import torch
from torch import Tensor

from ghn_models.checkpoints.folder import CheckpointError


def read_state_dict(data: bytes, kind: Literal["joblib", "torch"], max_bytes: int) -> dict[str, Tensor]:
    """Return tensors by name, from a file that is read as data alone.

    Args:
        data: content of the file.
        kind: as in `Published`.
        max_bytes: largest size of its decompressed content.

    Raises:
        CheckpointError: a file with anything but tensors and containers. A damaged file may raise any other exception.
    """
    content = _joblib_load(data, max_bytes) if kind == "joblib" else _torch_load(data, max_bytes)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise CheckpointError("it has no state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError("it is not a state dict, which has only tensors and their names")
    return {name: Tensor.detach(value) for name, value in content.items()}  # leaves hooks and attributes behind


def _joblib_load(data: bytes, max_bytes: int) -> Any:
    return TensorUnpickler(io.BytesIO(_decompress(data, max_bytes))).load()


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
