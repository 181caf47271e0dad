"""The HDF5 file of a split, read: flat columns, memory-mapped, each with a checksum.

Format version 1. Root attributes: format, format_version, split, seed, num_networks, toolkit_version,
content_sha256. Every column is a dataset with an attribute `sha256` of its bytes in memory order; pointers
(`graphs/node_ptr`, `graphs/edge_ptr`) bound the ragged columns. Columns are contiguous unless compressed.
"""

import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepnets.utils.errors import FileError

FORMAT = "deepnets"
FORMAT_VERSION = 1

Column = NDArray[Any]
Columns = Mapping[str, Column]

POINTERS = ("graphs/node_ptr", "graphs/edge_ptr")
_PIECE_BYTES = 1 << 24  # copied or hashed at a time


@dataclass(frozen=True)
class Header:
    """What a file says about itself."""

    split: str
    seed: int
    num_networks: int
    toolkit_version: str
    content_sha256: str


def content_hash(split: str, seed: int, checksums: Mapping[str, str]) -> str:
    """One sha256 for the content of a file: equal for equal split, seed and columns, however it was written."""
    lines = [f"{FORMAT} {FORMAT_VERSION} {split} {seed}", *(f"{name} {checksums[name]}" for name in sorted(checksums))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


VOCABULARY = "vocabulary"


def encode_vocabulary(names: Sequence[str]) -> Column:
    """The vocabulary column: names in UTF-8, one per line."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def decode_vocabulary(column: Column) -> tuple[str, ...]:
    """The names in a vocabulary column."""
    return tuple(bytes(column).decode().split("\n"))


class ColumnFile:
    """An open file of columns; contiguous columns are memory-mapped and cost no memory until touched.

    Safe to share with forked processes and to pickle: a copy opens the file again.

    Raises:
        FileError: the file is missing, truncated, of another format or of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
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
        except (KeyError, RuntimeError, TypeError, ValueError) as error:  # what h5py raises for damaged metadata
            raise FileError(f"{self.path} is damaged: its header cannot be read ({error})") from None
        self._check_bounds()

    def _read_header(self, file: h5py.File) -> Header:
        if _text(file.attrs.get("format", b"")) != FORMAT:
            raise FileError(f"{self.path} is an HDF5 file, but not of the {FORMAT} format")
        version = int(file.attrs["format_version"])
        if not 1 <= version <= FORMAT_VERSION:
            raise FileError(
                f"{self.path} has format version {version}; this toolkit reads up to {FORMAT_VERSION}: please upgrade"
            )
        return Header(
            split=_text(file.attrs["split"]),
            seed=int(file.attrs["seed"]),
            num_networks=int(file.attrs["num_networks"]),
            toolkit_version=_text(file.attrs["toolkit_version"]),
            content_sha256=_text(file.attrs["content_sha256"]),
        )

    def _check_bounds(self) -> None:
        size = self.path.stat().st_size
        needed = max((layout.offset + layout.nbytes for layout in self._layout.values() if layout.offset), default=0)
        if size < needed:
            raise FileError(f"{self.path} is truncated: it has {size} bytes, its columns need {needed}")
        if VOCABULARY not in self._layout:
            raise FileError(f"{self.path} is damaged: it lacks the column {VOCABULARY}")

    def __reduce__(self) -> tuple:
        return reopen, (ColumnFile, (str(self.path.absolute()),), self.header.content_sha256)

    @cached_property
    def _map(self) -> mmap.mmap:
        # Not before a column is used: merging opens more files than a process may keep open.
        with open(self.path, "rb") as raw:
            return mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The names that the name column indexes."""
        try:
            return decode_vocabulary(np.concatenate([*self.pieces(VOCABULARY), np.zeros(0, np.uint8)]))
        except (OSError, UnicodeDecodeError):
            raise FileError(f"{self.path} is damaged: its vocabulary cannot be read") from None

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        return list(self._layout)

    def checksum(self, name: str) -> str:
        """The recorded sha256 of a column."""
        return self._checksums[name]

    def column(self, name: str) -> Column:
        """A column as a read-only array: a view of the file where it is contiguous, else read and decompressed."""
        layout = self._layout[name]
        if layout.offset is None:
            return self._dataset(name)[:] if layout.nbytes else np.empty(layout.shape, layout.dtype)
        flat = np.frombuffer(self._map, layout.dtype, int(np.prod(layout.shape)), layout.offset)
        return flat.reshape(layout.shape)

    def describe(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of a column."""
        return self._layout[name].shape, str(self._layout[name].dtype)

    def is_mapped(self, name: str) -> bool:
        """Whether reading a part of the column touches that part only, without decompressing."""
        return self._layout[name].offset is not None

    def rows(self, name: str, start: int, stop: int) -> Column:
        """Rows of a column; of a compressed one only the chunks concerned are read."""
        if self._layout[name].offset is None:
            return self._dataset(name)[start:stop]
        return self.column(name)[start:stop]

    def pieces(self, name: str) -> Iterator[Column]:
        """A column in pieces of bounded size, which are read, not mapped, so that memory stays small."""
        layout = self._layout[name]
        row_bytes = layout.dtype.itemsize * int(np.prod(layout.shape[1:]))
        for start, stop in cuts(layout.shape[0], row_bytes):
            if layout.offset is None:
                yield self.rows(name, start, stop)
            else:
                count = (stop - start) * row_bytes // layout.dtype.itemsize
                piece = np.fromfile(self.path, layout.dtype, count, offset=layout.offset + start * row_bytes)
                yield piece.reshape(stop - start, *layout.shape[1:])

    def _dataset(self, name: str) -> h5py.Dataset:
        """HDF5 handles do not survive a fork, so every process has its own."""
        if os.getpid() not in self._open:
            self._open[os.getpid()] = h5py.File(self.path, "r")
        return self._open[os.getpid()][name]


def _text(attribute: Any) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)


def _read_layout(file: h5py.File) -> tuple[dict[str, str], dict[str, "_Layout"]]:
    datasets: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    scalars = [name for name, dataset in datasets.items() if not dataset.shape]
    if scalars:
        raise ValueError(f"{scalars[0]} is no column")
    checksums = {name: _text(dataset.attrs["sha256"]) for name, dataset in datasets.items()}
    return checksums, {name: _Layout.of(dataset) for name, dataset in datasets.items()}


def reopen(kind: Any, arguments: tuple[Any, ...], content_sha256: str) -> Any:
    """What unpickling does: open the same file again.

    Raises:
        FileError: it has been replaced by another.
    """
    file = kind(*arguments)
    if file.header.content_sha256 != content_sha256:
        raise FileError(f"{arguments[0]} was replaced while it was in use; open the data set again")
    return file


@dataclass(frozen=True)
class _Layout:
    """Where a column lies in the file; no offset for compressed and for empty columns."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int | None

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> "_Layout":
        return cls(dataset.dtype, dataset.shape, dataset.id.get_offset())

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


def damaged_columns(path: Path) -> list[str]:
    """Names of the columns that do not match their checksums, `content_sha256` if the file's own hash is wrong.

    Raises:
        FileError: the file cannot be opened.
    """
    file = ColumnFile(path)
    bad = []
    for name in file.names:
        try:
            found = hash_pieces(file.pieces(name))
        except (OSError, ValueError):  # a damaged compressed chunk
            found = "unreadable"
        if found != file.checksum(name):
            bad.append(name)
    expected = content_hash(file.header.split, file.header.seed, {name: file.checksum(name) for name in file.names})
    return bad if expected == file.header.content_sha256 else [*bad, "content_sha256"]


def refuse_damaged(path: Path) -> None:
    """Raise FileError if a file cannot be opened or a column does not match its checksum."""
    if bad := damaged_columns(path):
        raise FileError(f"{path} is damaged: {', '.join(bad)}")


def cuts(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut rows so that no piece is large."""
    step = max(1, _PIECE_BYTES // row_bytes)
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def hash_pieces(pieces: Iterator[Column]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(np.ascontiguousarray(piece))
    return digest.hexdigest()
