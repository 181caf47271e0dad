"""The HDF5 file of a split, written: complete or not there at all, and read back before it gets its name."""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deepnets.graphs.ragged import concatenate_pointers
from deepnets.storage.column_reader import (
    FORMAT,
    FORMAT_VERSION,
    POINTERS,
    VOCABULARY,
    Column,
    ColumnFile,
    Columns,
    content_hash,
    cuts,
    hash_pieces,
)
from deepnets.utils.atomic_files import move_into_place
from deepnets.utils.errors import FileError, describe_write_error

_CHUNK = 1 << 16  # rows compressed together


@contextmanager
def new_file(path: Path, overwrite: bool = False) -> Iterator[h5py.File]:
    """An HDF5 file that appears under its name only when it is complete and on disk.

    Raises:
        FileExistsError: the path exists and `overwrite` is False.
        FileError: the disk is full or the folder is not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _Disk(temporary, "w+") as disk:
            try:
                with h5py.File(disk, "w", libver=("v110", "v110")) as file:
                    yield file
            finally:
                if disk.error is not None:
                    raise disk.error
            os.fsync(disk.fileno())
        move_into_place(temporary, path, overwrite)
    except OSError as error:
        raise describe_write_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


class _Disk(io.FileIO):
    """A file whose failures are remembered instead of raised: HDF5 does not survive a write that fails."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data, or none once something has failed."""
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left) and self.error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return size


def write_columns(path: Path, split: str, seed: int, version: str, columns: Columns, overwrite: bool = False) -> str:
    """Write a file at once from columns in memory; the content hash."""
    sources = {name: _Source.of(column) for name, column in columns.items()}
    return _write(path, split, seed, version, sources, False, overwrite)


def merge(path: Path, parts: Sequence[Path], compress: bool) -> str:
    """Write the concatenation of files of the same split and seed, in order; the content hash.

    Checksums of the parts are verified while copying, and those of the file by reading it back.

    Raises:
        FileError: a part is damaged.
    """
    files = [ColumnFile(part) for part in parts]
    first = files[0]
    sources = {name: _Source.concatenation(name, files) for name in first.names}
    return _write(path, first.header.split, first.header.seed, first.header.toolkit_version, sources, compress)


@dataclass(frozen=True)
class _Source:
    """A column to be written: its dtype, its shape and its content in pieces."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: Iterator[Column]

    @classmethod
    def of(cls, column: Column) -> "_Source":
        return cls(column.dtype, column.shape, iter([column]))

    @classmethod
    def concatenation(cls, name: str, files: Sequence["ColumnFile"]) -> "_Source":
        columns = [file.column(name) for file in files]
        if name == VOCABULARY:
            if any(file.vocabulary != files[0].vocabulary for file in files):
                raise FileError("the parts have different name vocabularies; delete them and generate again")
            return cls.of(columns[0][:])
        if name in POINTERS:
            return cls.of(concatenate_pointers([np.concatenate(list(_verified(file, name))) for file in files]))
        pieces = (piece for file in files for piece in _verified(file, name))
        return cls(columns[0].dtype, (sum(map(len, columns)), *columns[0].shape[1:]), pieces)


def _verified(file: "ColumnFile", name: str) -> Iterator[Column]:
    """A column in pieces; raises FileError behind the last if they do not match the checksum."""
    digest = hashlib.sha256()
    for piece in file.pieces(name):
        digest.update(np.ascontiguousarray(piece))
        yield piece
    if digest.hexdigest() != file.checksum(name):
        raise FileError(f"{file.path} is damaged: column {name} does not match its checksum")


def _write(
    path: Path,
    split: str,
    seed: int,
    version: str,
    sources: Mapping[str, _Source],
    compress: bool,
    overwrite: bool = False,
) -> str:
    checksums = {}
    with new_file(path, overwrite) as file:
        for name, source in sources.items():
            options = _compression(source.shape) if compress and source.shape[0] else {}
            dataset = file.create_dataset(name, source.shape, source.dtype, track_times=False, **options)
            digest, start = hashlib.sha256(), 0
            for piece in source.pieces:
                piece = np.ascontiguousarray(piece, source.dtype)
                if len(piece):
                    dataset[start : start + len(piece)] = piece
                digest.update(piece)
                start += len(piece)
            checksums[name] = digest.hexdigest()
            dataset.attrs["sha256"] = np.bytes_(checksums[name])
        content = content_hash(split, seed, checksums)
        networks = sources[POINTERS[0]].shape[0] - 1
        texts = {"format": FORMAT, "split": split, "toolkit_version": version, "content_sha256": content}
        # Texts of fixed length: HDF5 keeps no checksum of others.
        file.attrs.update({name: np.bytes_(text) for name, text in texts.items()})
        file.attrs.update(format_version=FORMAT_VERSION, seed=seed, num_networks=networks)
        file.flush()
        damaged = [name for name in checksums if hash_pieces(_dataset_pieces(file[name])) != checksums[name]]
        if damaged:
            raise FileError(f"{path} could not be written: column {damaged[0]} reads back differently")
    return content


def _compression(shape: tuple[int, ...]) -> dict[str, Any]:
    chunks = (min(shape[0], _CHUNK), *shape[1:])
    return {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}


def _dataset_pieces(dataset: h5py.Dataset) -> Iterator[Column]:
    for start, stop in cuts(dataset.shape[0], dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))):
        yield dataset[start:stop]
