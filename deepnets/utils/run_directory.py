"""Run directories: each has the results of one run, and lets one process at a time write them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepnets.utils.atomic_files import write_json
from deepnets.utils.bounded_files import read_json_at_most
from deepnets.utils.errors import FileError
from deepnets.utils.file_lock import LockedError, file_lock

_LOCK, _IDENTITY = "lock", "identity.json"
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class RunDirectory:
    """A directory of results. Its file identity.json has what defines them.

    Args:
        path: the directory.
        identity: what defines the results, such as model, data and seed; a run that continues must have an equal one.
        noun: word for the run in error messages: "run", "study".
    """

    path: Path
    identity: Mapping[str, Any]
    noun: str

    def check(self) -> None:
        """Check that the path does not exist, or is a directory of the same run.

        `identity` may be a part of the recorded one here.

        Raises:
            FileError: the path is a file, or a directory with something else.
        """
        existing = next(path for path in (self.path, *self.path.parents) if path.exists() or path.is_symlink())
        if not existing.is_dir():
            raise FileError(f"{existing} is not a folder; choose another --out")
        if existing != self.path:
            return
        names = {path.name for path in self.path.iterdir()}
        if _IDENTITY in names:
            read_identity(self.path / _IDENTITY, json.loads(json.dumps(self.identity)), self.noun)
        elif foreign := {name for name in names if name != _LOCK and not _is_torn_identity(name)}:
            raise FileError(
                f"{self.path} has files that belong to no {self.noun}, such as {min(foreign)}; choose another --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory if it is missing, and lock it against other processes inside the `with` block.

        Raises:
            FileError: it cannot be created, another process works on it, or it holds something else.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with file_lock(self.path / _LOCK):
                self.check()  # another process may have begun something in between
                identity = self.path / _IDENTITY
                if not identity.exists():
                    write_json(identity, self.identity)
                try:
                    yield
                except BaseException:
                    if {path.name for path in self.path.iterdir()} <= {_LOCK, _IDENTITY}:
                        identity.unlink()  # nothing was done, so something else may begin here
                    raise
        except LockedError:
            raise FileError(f"another process works on {self.path}; wait for it or choose another --out") from None


def _is_torn_identity(name: str) -> bool:
    """Tell whether a kill left this file while identity.json was written."""
    return name == f"{_IDENTITY}.partial" or (name.startswith(f".{_IDENTITY}.") and name.endswith(".tmp"))


def read_identity(path: Path, expected: Mapping[str, Any], noun: str) -> dict[str, Any]:
    """Return the content of an identity.json.

    Args:
        path: the file.
        expected: keys and values that it must have.
        noun: word for the run in error messages.

    Raises:
        FileError: the file is damaged, or has another value.
    """
    try:
        recorded = read_json_at_most(path, _MOST_BYTES)
    except (ValueError, RecursionError):
        recorded = None
    if not isinstance(recorded, dict):
        raise FileError(f"{path} is damaged, so the {noun} that it belongs to is unknown; choose another --out")
    changed = next((key for key in expected if recorded.get(key) != expected[key]), None)
    if changed is not None:
        raise FileError(
            f"{path.parent} has a {noun} with {changed} {recorded.get(changed)!r} instead of {expected[changed]!r}; "
            "choose another --out"
        )
    return recorded
