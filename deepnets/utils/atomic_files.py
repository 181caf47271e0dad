"""Files that a kill cannot leave half written, and folders that one process works on."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class FileError(ValueError):
    """A file that is not what it should be; the message is one sentence for the user."""


class Locked(Exception):
    """Another process holds the lock."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of this file; workers do not inherit it.

    Raises:
        Locked: another process holds it.
    """
    with open(path, "w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock not inherited by workers
        except (BlockingIOError, PermissionError):
            raise Locked from None
        yield


def refuse_existing(overwrite: bool, *paths: Path) -> None:
    """Raise FileExistsError for the first path that exists, unless it is a file that may be overwritten."""
    for path in paths:
        if path.is_dir():
            raise FileExistsError(f"{path} is a folder; name a file")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already; name another path or ask to overwrite it (--overwrite)")


def replace_content(path: Path, content: str | bytes) -> None:
    """Write a file under another name and rename it, so that it is never incomplete.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Add a line of JSON to a file for good."""
    with open(path, "a") as file:
        # The newline comes first too: a kill may have cut off the line before.
        file.write(f"\n{json.dumps(content)}\n")
        file.flush()
        os.fsync(file.fileno())


def publish(source: Path, path: Path, overwrite: bool = False) -> None:
    """Give a complete file its name, on the same file system, durably.

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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def describe_write_error(error: OSError, path: Path) -> Exception:
    """The same failure as one sentence for the user."""
    if isinstance(error, FileExistsError) and error.errno is None:  # raised by us
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return FileError(f"the disk is full while writing {path}; what was finished is kept")
    if isinstance(error, PermissionError) or error.errno in (errno.EACCES, errno.EROFS):
        return FileError(f"cannot write {path}: the folder is not writable")
    return FileError(f"cannot write {path}: {error.strerror or error}")
