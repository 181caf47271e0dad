"""Locks between processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepnets.utils.errors import FileError


class LockedError(Exception):
    """Another process holds the lock."""


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is created if it is missing.

    Worker processes do not inherit the lock.

    Raises:
        LockedError: another process holds it.
        FileError: this system has no locks of its own (Windows), and the package filelock is not installed.
    """
    try:
        import fcntl
    except ImportError:
        lock = _portable_lock(path)
        try:
            yield
        finally:
            lock.release()
        return
    # Not through a link: what it leads to is not ours.
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), "r+b", 0) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # flock would be inherited by forked workers
        except (BlockingIOError, PermissionError):
            raise LockedError from None
        yield


def _portable_lock(path: Path) -> Any:
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise FileError("locking files needs the package filelock on this system: pip install filelock") from None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError from None
    return lock
