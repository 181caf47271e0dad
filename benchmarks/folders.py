"""Folders of results: one process works on one at a time, and only on what it was begun with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepnets.files import Locked, exclusive
from deepnets.storage import FileError


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, made if it is missing; no other process can work on it meanwhile.

    Raises:
        FileError: another process works on it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(folder / "lock"):
            yield
    except Locked:
        raise FileError(f"another process works on {folder}; wait for it or choose another --out") from None


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
