"""Writer of the HDF5 format: a file is complete or not there at all, and is read back before it gets its name."""

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
    encode_vocabulary,
    hash_pieces,
    piece_bounds,
)
from deepnets.storage.joined_parts import (
    MODELS,
    NODE_NAMES,
    TRUTH_NAMES,
    joined_lines,
    joined_vocabulary,
    translations,
)
from deepnets.utils.atomic_files import move_into_place, temporary_sibling
from deepnets.utils.errors import FileError, describe_write_error

_CHUNK = 1 << 16  # rows compressed together


@contextmanager
def new_file(path: Path, overwrite: bool = False) -> Iterator[h5py.File]:
    """Open a new HDF5 file, which gets its name only when the block has ended and everything is on the disk.

    Raises:
        FileExistsError: the path exists and `overwrite` is False.
        FileError: the disk is full or the folder is not writable.
    """
    try:
        with temporary_sibling(path) as temporary:
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


class _Disk(io.FileIO):
    """A file that records failed writes instead of raising them, because HDF5 crashes if a write raises."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data, or nothing once a write has failed; report success to HDF5 either way."""
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left) and self.error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return size


def write_columns(path: Path, split: str, seed: int, version: str, columns: Columns, overwrite: bool = False) -> str:
    """Write columns that are in memory to a file, and return its content hash.

    Args:
        path: the file.
        split: name of the split.
        seed: root seed.
        version: version of the toolkit, which the file records.
        columns: values by name.
        overwrite: replace an existing file.

    Raises:
        FileExistsError: the path exists and `overwrite` is False.
        FileError: the disk is full or the folder is not writable.
    """
    sources = {name: _Source.from_column(column) for name, column in columns.items()}
    return _write(path, split, seed, version, sources, False, overwrite)


def merge(path: Path, parts: Sequence[Path], compress: bool) -> str:
    """Concatenate files of the same split and seed, and return the content hash of the merged file.

    The checksums of the parts are verified while they are copied, those of the merged file by reading it back.

    Args:
        path: the merged file.
        parts: files, in order.
        compress: compress the columns of the merged file.

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
    def from_column(cls, column: Column) -> "_Source":
        return cls(column.dtype, column.shape, iter([column]))

    @classmethod
    def concatenation(cls, name: str, files: Sequence["ColumnFile"]) -> "_Source":
        columns, first = [file.column(name) for file in files], files[0]
        if name == VOCABULARY:
            return cls.from_column(encode_vocabulary(joined_vocabulary(files)))
        if name == MODELS:
            return cls.from_column(joined_lines(columns))
        if name == TRUTH_NAMES:  # the same in all parts
            return cls.from_column(columns[0][:])
        if name in POINTERS:
            return cls.from_column(
                concatenate_pointers([np.concatenate(list(_verified(file, name))) for file in files])
            )
        pieces = (piece for file in files for piece in _verified(file, name))
        dtype = np.result_type(*{column.dtype for column in columns})
        if name == NODE_NAMES and MODELS in first.names:
            words = translations(files)
            dtype = words[0].dtype
            # Names of a damaged part may be out of range; its checksum is checked behind the last piece.
            pieces = (
                word.take(piece, mode="clip")
                for file, word in zip(files, words, strict=True)
                for piece in _verified(file, name)
            )
        return cls(dtype, (sum(map(len, columns)), *columns[0].shape[1:]), pieces)


def _verified(file: "ColumnFile", name: str) -> Iterator[Column]:
    """Yield a column in pieces; raise FileError after the last one if they do not match the checksum."""
    digest = hashlib.sha256()
    for piece in file.pieces(name):
        digest.update(np.ascontiguousarray(piece).data)
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
    with new_file(path, overwrite) as file:
        checksums = {}
        for name, source in sources.items():
            options = _compression(source.shape) if compress and source.shape[0] else {}
            # HDF5 writes compressed columns when they are closed: here, once the next one is created.
            dataset = file.create_dataset(name, source.shape, source.dtype, track_times=False, **options)
            checksums[name] = _write_column(dataset, source)
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


def _write_column(dataset: h5py.Dataset, source: _Source) -> str:
    """Write a column piece by piece, and return its checksum."""
    digest, start = hashlib.sha256(), 0
    for piece in source.pieces:
        piece = np.ascontiguousarray(piece, source.dtype)
        if len(piece):
            dataset[start : start + len(piece)] = piece
        digest.update(piece.data)
        start += len(piece)
    checksum = digest.hexdigest()
    dataset.attrs["sha256"] = np.bytes_(checksum)
    return checksum


def _compression(shape: tuple[int, ...]) -> dict[str, Any]:
    chunks = (min(shape[0], _CHUNK), *shape[1:])
    return {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}


def _dataset_pieces(dataset: h5py.Dataset) -> Iterator[Column]:
    for start, stop in piece_bounds(dataset.shape[0], dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))):
        yield dataset[start:stop]
