"""Files that are written completely or not at all."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def check_writable(*paths: Path, overwrite: bool) -> None:
    """Raise FileExistsError for the first path that is a folder, or that exists and must not be overwritten."""
    for path in paths:
        if path.is_dir():
            raise FileExistsError(f"{path} is a folder; name a file")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already; name another path or ask to overwrite it (--overwrite)")


@contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """Name a temporary file beside a path, and delete it at the end unless it was moved."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file, replacing an existing one; readers see the old content or the new one, nothing in between.

    Args:
        path: the file; its folder has to exist.
        content: text (UTF-8) or bytes.
        durable: wait until the content is on the disk, so that it survives a power failure.

    Raises:
        OSError: the file cannot be written; the old one stays, and no temporary file does.
    """
    with temporary_sibling(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _sync_folder(path.parent)


def write_json(
    path: Path, content: Any, *, sort_keys: bool = False, allow_nan: bool = True, durable: bool = False
) -> None:
    """Write a JSON file for people and programs, atomically: indented, with a newline at the end.

    Args:
        path: the file.
        content: any value that `json.dumps` accepts.
        sort_keys: order the keys of objects.
        allow_nan: write infinite and undefined numbers, which are not JSON, instead of raising ValueError.
        durable: as in `atomic_write`.
    """
    text = json.dumps(content, indent=1, sort_keys=sort_keys, allow_nan=allow_nan)
    atomic_write(path, text + "\n", durable=durable)


def append_json_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append one line of JSON to a file, durably."""
    with open(path, "a") as file:
        # The newline comes first too: a kill may have cut off the line before.
        file.write(f"\n{json.dumps(content)}\n")
        file.flush()
        os.fsync(file.fileno())


def move_into_place(source: Path, path: Path, overwrite: bool = False) -> None:
    """Give a complete file its final name on the same file system, durably.

    Raises:
        FileExistsError: the path exists and `overwrite` is False.
    """
    if overwrite:
        os.replace(source, path)
    else:
        try:
            os.link(source, path)
            source.unlink()
        except OSError as error:
            if isinstance(error, FileExistsError) or path.exists():
                raise FileExistsError(f"{path} exists already; nothing is overwritten unasked") from None
            os.rename(source, path)  # a file system without hard links
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name != "posix":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
