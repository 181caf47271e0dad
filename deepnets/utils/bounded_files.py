"""Reading of files that others made: no more than a stated number of bytes, also after decompression."""

import gzip
import json
from pathlib import Path
from typing import IO, Any

from deepnets.utils.errors import FileError, InputError


def read_at_most(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file.

    Raises:
        FileError: the file is larger, or not a regular file, such as a pipe that never ends.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise FileError(f"{path.name} is not a regular file")
    with path.open("rb") as file:
        return _read(file, path, max_bytes)


def decompress_at_most(path: Path, max_bytes: int) -> bytes:
    """Return the decompressed content of a gzip file, of which no more than `max_bytes` are ever in memory.

    Raises:
        FileError: the content is larger, or the path is not a regular file.
        OSError, EOFError, zlib.error: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise FileError(f"{path.name} is not a regular file")
    with gzip.open(path) as file:
        return _read(file, path, max_bytes)


def read_json_at_most(path: Path, max_bytes: int) -> Any:
    """Return the content of a JSON file; NaN and infinite numbers, which are not JSON, are refused.

    Raises:
        InputError: the file is larger, or is not JSON.
        RecursionError: it is nested too deeply.
        OSError: it cannot be read.
    """
    return json.loads(read_at_most(path, max_bytes).decode(), parse_constant=_refuse_constant)


def _read(file: IO[bytes] | gzip.GzipFile, path: Path, max_bytes: int) -> bytes:
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FileError(f"{path.name} has more than {max_bytes:,} bytes")
    return content


def _refuse_constant(value: str) -> float:
    raise InputError(f"it has the number {value}")
