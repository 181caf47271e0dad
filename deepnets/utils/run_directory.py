"""Folders of results: one process works on one at a time, and only on what it was begun with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepnets.utils.atomic_files import FileError, Locked, exclusive, replace_content

_LOCK, _IDENTITY = "lock", "identity.json"


@contextmanager
def claimed(folder: Path, identity: dict[str, Any], noun: str) -> Iterator[None]:
    """The folder, made if it is missing; no other process can work on it meanwhile.

    Args:
        folder: of the results.
        identity: what they are, which identity.json tells those who go on with them.
        noun: likewise, for people.

    Raises:
        FileError: it cannot be made, another process works on it, or it has something else.
    """
    refuse_other(folder, identity, noun)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(folder / _LOCK):
            path = folder / _IDENTITY
            refuse_other(folder, identity, noun)  # what another process may have begun meanwhile
            if not path.exists():
                replace_content(path, json.dumps(identity, indent=1) + "\n")
            try:
                yield
            except BaseException:
                if {other.name for other in folder.iterdir()} <= {_LOCK, _IDENTITY}:
                    path.unlink()  # nothing was done, so something else may begin here
                raise
    except Locked:
        raise FileError(f"another process works on {folder}; wait for it or choose another --out") from None


def refuse_other(folder: Path, identity: dict[str, Any], noun: str) -> None:
    """Raise FileError if what is called so cannot become the folder of these results: it is none, or has others.

    Args:
        folder: of the results.
        identity: what they are, or a part of it.
        noun: likewise, for people.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise FileError(f"{there} is no folder; choose another --out")
    if there != folder:
        return
    found = {path.name for path in folder.iterdir()}
    foreign = found - {_LOCK, f"{_IDENTITY}.partial"}  # which a kill at the begin leaves
    if _IDENTITY in found:
        check_identity(folder / _IDENTITY, json.loads(json.dumps(identity)), noun)
    elif foreign:
        raise FileError(f"{folder} has files that are of no {noun}, such as {min(foreign)}; choose another --out")


def check_identity(path: Path, wanted: dict[str, Any], noun: str) -> dict[str, Any]:
    """The content of a JSON file, which says what its folder was begun with.

    Args:
        path: the file.
        wanted: what it has to say.
        noun: what is in the folder, for people.

    Raises:
        FileError: it is damaged, or says something else.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        changed = next((key for key in wanted if found.get(key) != wanted[key]), None)
    except (ValueError, AttributeError):
        raise FileError(f"{path} is damaged, so nobody knows what {noun} it is; choose another --out") from None
    if changed is not None:
        raise FileError(
            f"{path.parent} has a {noun} with {changed} {found.get(changed)!r} instead of {wanted[changed]!r}; "
            "choose another --out"
        )
    return found
