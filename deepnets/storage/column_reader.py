"""Reader of the HDF5 format: flat columns, memory-mapped, each with a checksum.

Format version 1. Root attributes: format, format_version, split, seed, num_networks, toolkit_version,
content_sha256. Every column is a dataset with an attribute `sha256` of its bytes in memory order; pointers
(`graphs/node_ptr`, `graphs/edge_ptr`) bound the ragged columns. Columns are contiguous unless compressed.
"""

import hashlib
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepnets.utils.errors import FileError, InputError, is_mistake, one_line

FORMAT = "deepnets"
FORMAT_VERSION = 1

Column = NDArray[Any]
Columns = Mapping[str, Column]

POINTERS = ("graphs/node_ptr", "graphs/edge_ptr")
_PIECE_BYTES = 1 << 24  # copied or hashed at a time
_MOST_MEMBERS = 200
_MOST_TEXT_BYTES = 1 << 28
_MOST_COMPRESSED = 1100  # gzip makes nothing smaller by more than 1,032
_MOST_CHUNK_BYTES = 1 << 26


@dataclass(frozen=True)
class Header:
    """Attributes of a file.

    Args:
        split: name of the split.
        seed: root seed that the networks were sampled with.
        num_networks: number of networks.
        toolkit_version: version of the toolkit that wrote the file.
        content_sha256: hash of split, seed and all columns, see `content_hash`.
    """

    split: str
    seed: int
    num_networks: int
    toolkit_version: str
    content_sha256: str


def content_hash(split: str, seed: int, checksums: Mapping[str, str]) -> str:
    """Return one sha256 for the content of a file.

    It is equal for equal split, seed and columns, however the file was cut into shards or compressed.

    Args:
        split: name of the split.
        seed: root seed.
        checksums: sha256 of each column by name.
    """
    lines = [f"{FORMAT} {FORMAT_VERSION} {split} {seed}", *(f"{name} {checksums[name]}" for name in sorted(checksums))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


VOCABULARY = "vocabulary"


def encode_vocabulary(names: Sequence[str]) -> Column:
    """Return names as a column: UTF-8 text, one name per line."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def decode_vocabulary(column: Column) -> tuple[str, ...]:
    """Return the names in a vocabulary column."""
    return tuple(bytes(column).decode().split("\n"))


class ColumnFile:
    """A file of columns; contiguous ones are memory-mapped, and cost no memory until they are used.

    It can be shared with forked processes and pickled: the copy opens the file again.

    Args:
        path: the HDF5 file.

    Raises:
        FileError: the file is missing, truncated, damaged, of another format or of a newer version, or refers to other
            files.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self._open: dict[int, h5py.File] = {}
        try:
            with h5py.File(self.path, "r") as file:
                self.header = self._read_header(file)
                self._checksums, self._layout = _read_layout(file)
        except FileError:
            raise
        except FileNotFoundError:
            raise FileError(f"{self.path} does not exist") from None
        except IsADirectoryError:
            raise FileError(f"{self.path} is a folder, not a file") from None
        except PermissionError:
            raise FileError(f"{self.path} cannot be read: permission denied") from None
        except OSError as error:
            raise FileError(f"{self.path} is truncated or not an HDF5 file ({error})") from None
        except (
            KeyError,
            OverflowError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:  # what h5py raises for damaged metadata
            if is_mistake(error, through=()):
                raise
            raise FileError(f"{self.path} is damaged: its header cannot be read ({error})") from None
        self._check_bounds()

    def _read_header(self, file: h5py.File) -> Header:
        if _text(file.attrs.get("format", b"")) != FORMAT:
            raise FileError(f"{self.path} is an HDF5 file, but not of the {FORMAT} format")
        version = _integer(file, "format_version")
        if not 1 <= version <= FORMAT_VERSION:
            raise FileError(
                f"{self.path} has format version {version}; this toolkit reads up to {FORMAT_VERSION}: please upgrade"
            )
        return Header(
            split=_text(file.attrs["split"]),
            seed=_integer(file, "seed"),
            num_networks=_integer(file, "num_networks"),
            toolkit_version=_text(file.attrs["toolkit_version"]),
            content_sha256=_text(file.attrs["content_sha256"]),
        )

    def _check_bounds(self) -> None:
        size = self.path.stat().st_size
        needed = max((layout.offset + layout.nbytes for layout in self._layout.values() if layout.offset), default=0)
        if size < needed:
            raise FileError(f"{self.path} is truncated: it has {size} bytes, its columns need {needed}")
        vocabulary = self._layout.get(VOCABULARY)
        if vocabulary is not None and (vocabulary.dtype != np.uint8 or vocabulary.nbytes > _MOST_TEXT_BYTES):
            raise FileError(f"{self.path} is damaged: its vocabulary is not a text")
        if vocabulary is None:
            raise FileError(f"{self.path} is damaged: it lacks the column {VOCABULARY}")

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (ColumnFile, (str(self.path.absolute()),), self.header.content_sha256)

    @cached_property
    def _map(self) -> mmap.mmap:
        # Not before a column is used: merging opens more files than a process may keep open.
        with open(self.path, "rb") as raw:
            return mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Names that the name column indexes."""
        try:
            return decode_vocabulary(np.concatenate([*self.pieces(VOCABULARY), np.zeros(0, np.uint8)]))
        except (OSError, UnicodeDecodeError):
            raise FileError(f"{self.path} is damaged: its vocabulary cannot be read") from None

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        return list(self._layout)

    def checksum(self, name: str) -> str:
        """Return the recorded sha256 of a column."""
        return self._checksums[name]

    def column(self, name: str) -> Column:
        """Return a column as a read-only array: a view of the file if it is contiguous, decompressed otherwise."""
        layout = self._layout[name]
        if layout.offset is None:
            return self._dataset(name)[:] if layout.nbytes else np.empty(layout.shape, layout.dtype)
        flat = np.frombuffer(self._map, layout.dtype, int(np.prod(layout.shape)), layout.offset)
        return flat.reshape(layout.shape)

    def describe(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of a column."""
        return self._layout[name].shape, str(self._layout[name].dtype)

    def is_mapped(self, name: str) -> bool:
        """Tell whether a column is memory-mapped, so that reading a part touches that part only."""
        return self._layout[name].offset is not None

    def rows(self, name: str, start: int, stop: int) -> Column:
        """Return rows of a column; of a compressed one only the chunks that hold them are read."""
        if self._layout[name].offset is None:
            rows: Column = self._dataset(name)[start:stop]
            return rows
        return self.column(name)[start:stop]

    def pieces(self, name: str) -> Iterator[Column]:
        """Yield a column in pieces of bounded size, which are read, not mapped, so that memory stays small."""
        layout = self._layout[name]
        row_bytes = layout.dtype.itemsize * int(np.prod(layout.shape[1:]))
        for start, stop in piece_bounds(layout.shape[0], row_bytes):
            if layout.offset is None:
                yield self.rows(name, start, stop)
            else:
                count = (stop - start) * row_bytes // layout.dtype.itemsize
                piece = np.fromfile(self.path, layout.dtype, count, offset=layout.offset + start * row_bytes)
                yield piece.reshape(stop - start, *layout.shape[1:])

    def _dataset(self, name: str) -> h5py.Dataset:
        """Return the HDF5 handle of a column; handles do not survive a fork, so every process has its own."""
        if os.getpid() not in self._open:
            self._open[os.getpid()] = h5py.File(self.path, "r")
        return self._open[os.getpid()][name]


def _text(attribute: Any) -> str:
    text = attribute.decode() if isinstance(attribute, bytes) else attribute
    if not isinstance(text, str):
        raise InputError(f"a text is {type(text).__name__}")
    text.encode()  # HDF5's texts may be no UTF-8
    return text


def _integer(file: h5py.File, name: str) -> int:
    """Return an attribute that is a whole number."""
    value = file.attrs[name]
    if not isinstance(value, int | np.integer) or value < 0:
        raise InputError(f"{name} is {one_line(value)}")
    return int(value)


def _read_layout(file: h5py.File) -> tuple[dict[str, str], dict[str, "_Layout"]]:
    datasets = dict(_columns(file))
    checksums = {name: _text(dataset.attrs["sha256"]) for name, dataset in datasets.items()}
    return checksums, {name: _Layout.from_dataset(dataset) for name, dataset in datasets.items()}


def _columns(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the columns of a file by name: those in its root and in its groups.

    Raises:
        InputError: it has links, deeper groups, or too many columns.
    """
    groups = [("", file)]
    count = 0
    for prefix, group in groups:
        for member in group:
            name = f"{prefix}{member}"
            count += 1
            if count > _MOST_MEMBERS:
                raise InputError(f"it has more than {_MOST_MEMBERS} columns and groups")
            if not isinstance(group.get(member, getlink=True), h5py.HardLink):
                raise InputError(f"{name} is a link; columns have to be in the file itself")
            item = group[member]
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif prefix or not isinstance(item, h5py.Group):
                raise InputError(f"{name} is not a column")
            else:
                groups.append((f"{name}/", item))


def reopen(file_cls: Any, arguments: tuple[Any, ...], content_sha256: str) -> Any:
    """Open a file again when it is unpickled.

    Args:
        file_cls: class of the file.
        arguments: arguments of its constructor; the path comes first.
        content_sha256: hash of the file that was pickled.

    Raises:
        FileError: the file has been replaced by another.
    """
    file = file_cls(*arguments)
    if file.header.content_sha256 != content_sha256:
        raise FileError(f"{arguments[0]} was replaced while it was in use; open the data set again")
    return file


@dataclass(frozen=True)
class _Layout:
    """Position of a column in the file; compressed and empty columns have no offset."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int | None

    @classmethod
    def from_dataset(cls, dataset: h5py.Dataset) -> "_Layout":
        """Read the layout of a column.

        Raises:
            InputError: it is not a column of numbers, or its content is not in the file.
        """
        name = dataset.name.lstrip("/")
        if not dataset.shape or 0 in dataset.shape[1:] or dataset.dtype.kind not in "iuf":
            raise InputError(f"{name} is not a column")
        if dataset.is_virtual or dataset.external:
            raise InputError(f"{name} is a part of another file")
        layout = cls(dataset.dtype, dataset.shape, dataset.id.get_offset())
        if layout.offset is None and layout.nbytes > _MOST_COMPRESSED * dataset.id.get_storage_size():
            raise InputError(f"{name} is declared larger than what is stored of it can be")
        if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > _MOST_CHUNK_BYTES:
            raise InputError(f"{name} is compressed in chunks of more than {_MOST_CHUNK_BYTES >> 20} MB")
        return layout

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def find_damaged_columns(path: Path) -> list[str]:
    """Return the names of columns that do not match their checksums; `content_sha256` if the file's own hash is wrong.

    Raises:
        FileError: the file cannot be opened.
    """
    file = ColumnFile(path)
    damaged = []
    for name in file.names:
        try:
            checksum = hash_pieces(file.pieces(name))
        except (OSError, ValueError):  # a damaged compressed chunk
            checksum = "unreadable"
        if checksum != file.checksum(name):
            damaged.append(name)
    expected = content_hash(file.header.split, file.header.seed, {name: file.checksum(name) for name in file.names})
    return damaged if expected == file.header.content_sha256 else [*damaged, "content_sha256"]


def check_undamaged(path: Path) -> None:
    """Raise FileError if a file cannot be opened or a column does not match its checksum."""
    if damaged := find_damaged_columns(path):
        raise FileError(f"{path} is damaged: {', '.join(damaged)}")


def piece_bounds(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut rows into pieces of at most 16 MB; yield first and last row of each, the last one excluded."""
    step = max(1, _PIECE_BYTES // row_bytes)
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def hash_pieces(pieces: Iterable[Column]) -> str:
    """Return the sha256 of the bytes of a column in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(np.ascontiguousarray(piece).data)
    return digest.hexdigest()
