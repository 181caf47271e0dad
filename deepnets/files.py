"""Files that a kill cannot leave half written, and folders that one process works on."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    """Raise FileExistsError for the first path that exists, unless it may be overwritten."""
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already; name another path or ask to overwrite it (--overwrite)")


def replace_content(path: Path, content: str | bytes) -> None:
    """Write a file under another name and rename it, so that it is never incomplete."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Add a line of JSON to a file for good."""
    with open(path, "a") as file:
        # The newline comes first too: a kill may have cut off the line before.
        file.write(f"\n{json.dumps(content)}\n")
        file.flush()
        os.fsync(file.fileno())
