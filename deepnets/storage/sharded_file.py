"""A file in the making: shards that are written when complete, listed, and at the end merged.

All of that happens in the folder `<file>.partial`, which a later run with the same plan continues and a finished run
removes. A shard is written under another name first, and counts when a line of the manifest names it.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import deepnets
from deepnets.storage.column_reader import FORMAT_VERSION, ColumnFile, Columns, damaged_columns
from deepnets.storage.column_writer import merge, write_columns
from deepnets.utils.atomic_files import append_json_line, atomic_write, check_writable, move_into_place
from deepnets.utils.errors import FileError, describe_write_error
from deepnets.utils.file_lock import LockedError, file_lock

Shard = tuple[int, int]
"""First network and the one behind the last."""


@dataclass(frozen=True)
class Plan:
    """What a file is to contain; a partial file is continued by an equal plan only."""

    split: str
    num: int
    seed: int
    compress: bool
    shard_size: int
    source: str | None = None
    """Of files that are imported: what tells the published file from others."""
    format_version: int = FORMAT_VERSION
    toolkit_version: str = deepnets.__version__

    def shards(self) -> list[Shard]:
        """Ranges of network indices."""
        return [(i, min(i + self.shard_size, self.num)) for i in range(0, self.num, self.shard_size)]


class PartialFile:
    """The folder with the shards of an unfinished file.

    Args:
        path: the file.
        plan: what it is to contain.

    Attributes:
        finished: the shards that are written, with the notes that were taken of each.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.folder = path.with_name(path.name + ".partial")
        self.manifest = self.folder / "manifest.jsonl"
        self._whole = self.folder / "whole.hdf5"
        self._named = self.folder / "named.json"
        self.finished: dict[Shard, dict[str, Any]] = {}

    def check_new(self, overwrite: bool) -> None:
        """Refuse a path that exists, unless it may be overwritten, or this plan's run was killed when it had made it.

        Raises:
            FileExistsError: it exists, and neither is so.
            FileError: it is a folder.
        """
        if self.path.is_dir():
            raise FileError(f"cannot write {self.path}: it is a folder")
        if not self._is_named():
            check_writable(self.path, overwrite=overwrite)

    @contextmanager
    def opened(self, overwrite: bool) -> Iterator["PartialFile"]:
        """Begin or go on with the file; no other process can work on it meanwhile. The folder goes if the file is made.

        Args:
            overwrite: drop what was begun with another plan.

        Raises:
            FileError: it was begun with another plan, another process works on it, or it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with file_lock(self.folder / "lock"):
                self._check_plan(overwrite)
                self._read_manifest()
                yield self
                if self._is_named():
                    self._named.unlink()  # first: a kill must not leave a file that is made, but lacks shards
                    shutil.rmtree(self.folder)
        except LockedError:
            raise FileError(f"another process is making {self.path}; wait for it or choose another place") from None
        except OSError as error:
            raise describe_write_error(error, self.path) from error

    def _check_plan(self, overwrite: bool) -> None:
        recorded = self.folder / "plan.json"
        wanted = asdict(self.plan)
        if recorded.exists():
            found = _read_json(recorded)
            if found == wanted:
                return
            if not found:
                overwrite = True  # torn by a kill while it was written, before any shard
            different = [f"{k}={found.get(k)!r} instead of {v!r}" for k, v in wanted.items() if found.get(k) != v]
            if not overwrite:
                raise FileError(
                    f"{self.folder} holds an unfinished run with {', '.join(different)}; "
                    "continue it with its own settings, delete it, or ask to overwrite it (--overwrite)"
                )
        for old in [*self.folder.glob("*.hdf5"), self.manifest]:
            old.unlink(missing_ok=True)
        atomic_write(recorded, json.dumps(wanted))

    def _read_manifest(self) -> None:
        """Shards that the manifest lists and that can be opened; a line cut off by a kill is ignored."""
        for temporary in self.folder.glob(".*.tmp"):
            temporary.unlink()
        lines = self.manifest.read_text(errors="replace").splitlines() if self.manifest.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
                shard = (int(entry["start"]), int(entry["stop"]))
                file = ColumnFile(self._shard_path(shard))
                if file.header.content_sha256 == entry["content_sha256"]:
                    self.finished[shard] = entry["notes"]
            except (ValueError, KeyError, TypeError):
                continue

    def _shard_path(self, shard: Shard) -> Path:
        return self.folder / f"{shard[0]:09d}-{shard[1]:09d}.hdf5"

    def missing(self) -> list[Shard]:
        """The shards that are not written yet."""
        return [shard for shard in self.plan.shards() if shard not in self.finished]

    def num_finished(self) -> int:
        """How many networks are in the shards that are written."""
        return sum(stop - start for start, stop in self.finished)

    def write(self, shard: Shard, columns: Columns, notes: dict[str, Any] | None = None) -> None:
        """Write a shard, then list it, with notes for those who go on with the file."""
        path, notes = self._shard_path(shard), notes or {}
        path.unlink(missing_ok=True)  # written, but not listed, before a kill
        content = write_columns(path, self.plan.split, self.plan.seed, self.plan.toolkit_version, columns)
        entry = {"start": shard[0], "stop": shard[1], "content_sha256": content, "notes": notes}
        append_json_line(self.manifest, entry)
        self.finished[shard] = notes

    def assemble(self) -> None:
        """Join all shards, still in the folder, unless that was done before a kill.

        Raises:
            FileError: a shard is damaged; it is removed, so that it is made again the next time.
        """
        if self._whole.exists() or self._is_named():
            return
        parts = [self._shard_path(shard) for shard in self.plan.shards()]
        try:
            merge(self._whole, parts, self.plan.compress)
        except FileError as error:
            damaged = [part for part in parts if damaged_columns(part)]
            for part in damaged:
                part.unlink()
            advice = "; give the same command again, which makes it anew" if damaged else ""
            raise FileError(f"{error}{advice}") from None

    def merge(self, overwrite: bool) -> None:
        """Make the file from all shards: what `assemble` joins gets its name.

        Raises:
            FileError: a shard is damaged; it is removed, so that it is made again the next time.
        """
        self.assemble()
        if not self._is_named():
            atomic_write(self._named, json.dumps(self._identity(self._whole)))
            move_into_place(self._whole, self.path, overwrite)

    def _is_named(self) -> bool:
        """Whether the file was made from this folder and plan, and not changed or replaced since."""
        return self.path.exists() and _read_json(self._named) == self._identity(self.path)

    def _identity(self, file: Path) -> dict[str, Any]:
        """What is recorded before the file gets its name."""
        return {**asdict(self.plan), "file": fingerprint(file)}


def fingerprint(path: Path) -> str:
    """What tells a file from others that have its name at other times; it stays when the file is renamed."""
    status = path.stat()
    return f"{status.st_size} bytes, changed {status.st_mtime_ns}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
