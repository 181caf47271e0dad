"""Files that are written shard by shard, so that a killed run can be continued.

Shards are written into the folder `<file>.partial` and listed in its manifest; at the end they are merged into the
file, and the folder is deleted. A later run with the same plan continues the folder. A shard is written under a
temporary name first, and counts once a line of the manifest names it.
"""

import json
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import deepnets
from deepnets.storage.column_reader import FORMAT_VERSION, ColumnFile, Columns, Header, find_damaged_columns
from deepnets.storage.column_writer import merge, write_columns
from deepnets.utils.atomic_files import append_json_line, check_writable, move_into_place, write_json
from deepnets.utils.errors import FileError, describe_write_error
from deepnets.utils.file_lock import LockedError, file_lock

_TEMPORARY = re.compile(r"\..*\.tmp")


class Shard(NamedTuple):
    """A range of networks: the index of the first one, and the index behind the last one."""

    start: int
    stop: int


@dataclass(frozen=True)
class ShardPlan:
    """The content of a file and its shards. An unfinished file is continued with an equal plan only.

    Args:
        split: name of the split.
        num: number of networks.
        seed: root seed of the split.
        compress: compress the columns of the file.
        shard_size: networks in a shard.
        source: for imported files, what identifies the published file.
        format_version: version of the file format.
        toolkit_version: version of the toolkit, which the file records.
    """

    split: str
    num: int
    seed: int
    compress: bool
    shard_size: int
    source: str | None = None
    format_version: int = FORMAT_VERSION
    toolkit_version: str = deepnets.__version__

    def shards(self) -> list[Shard]:
        """Return all shards in order."""
        return [Shard(i, min(i + self.shard_size, self.num)) for i in range(0, self.num, self.shard_size)]


class BusyFileError(FileError):
    """Another process makes the file."""


class ShardedFile:
    """A file that is written shard by shard.

    Args:
        path: the file.
        plan: its content and its shards.

    Attributes:
        finished: the shards that are written, with the notes that were taken of each.
    """

    def __init__(self, path: Path, plan: ShardPlan) -> None:
        self.path, self.plan = path, plan
        self.folder = path.with_name(path.name + ".partial")
        self.manifest = self.folder / "manifest.jsonl"
        self._merged = self.folder / "whole.hdf5"
        self._published = self.folder / "named.json"
        self.finished: dict[Shard, dict[str, Any]] = {}
        self._is_merged = False  # by this process: what others left is not trusted

    def check_new(self, overwrite: bool) -> None:
        """Check that the file may be written: it is new, may be overwritten, or an unfinished run has just made it.

        Raises:
            FileExistsError: the file exists, and must not be overwritten.
            FileError: the path is a folder.
        """
        if self.path.is_dir():
            raise FileError(f"cannot write {self.path}: it is a folder")
        if not self._is_published():
            check_writable(self.path, overwrite=overwrite)

    @contextmanager
    def locked(self, overwrite: bool) -> Iterator["ShardedFile"]:
        """Begin or continue the file, and lock it against other processes inside the `with` block.

        At the end the folder of shards is deleted if the file is in place.

        Args:
            overwrite: drop shards of another plan.

        Raises:
            BusyFileError: another process writes it.
            FileError: it was begun with another plan, or it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_folder()
            with file_lock(self.folder / "lock"):
                self._check_plan(overwrite)
                self._read_manifest()
                yield self
                if self._is_published():
                    self._published.unlink()  # first: a kill must not leave it in a folder that lacks shards
                    shutil.rmtree(self.folder)
        except LockedError:
            raise BusyFileError(f"another process is making {self.path}; wait for it or choose another place") from None
        except OSError as error:
            raise describe_write_error(error, self.path) from error

    def _check_folder(self) -> None:
        """Raise FileError if the folder has anything that no run writes, such as links."""
        is_begun = (self.folder / "plan.json").exists()
        if self.folder.is_symlink():
            raise FileError(f"{self.folder} is a link; delete it")
        for path in self.folder.iterdir():
            is_ours = path.name in ("lock", "plan.json") or _TEMPORARY.fullmatch(path.name) or is_begun
            if not is_ours or not stat.S_ISREG(path.lstat().st_mode):
                raise FileError(
                    f"{self.folder} has a file that no unfinished run has written, {path.name}; move it away"
                )

    def _check_plan(self, overwrite: bool) -> None:
        """Check that the folder was begun with this plan, or begin it.

        Raises:
            FileError: it has shards of another plan, and `overwrite` is False.
        """
        plan_file = self.folder / "plan.json"
        plan = asdict(self.plan)
        if plan_file.exists():
            recorded = _read_json(plan_file)
            if recorded == plan:
                return
            different = [f"{k}={recorded.get(k)!r} instead of {v!r}" for k, v in plan.items() if recorded.get(k) != v]
            if recorded and not overwrite:  # a kill may have torn the plan, before there was any shard
                raise FileError(
                    f"{self.folder} holds an unfinished run with {', '.join(different)}; "
                    "continue it with its own settings, delete it, or ask to overwrite it (--overwrite)"
                )
        for old in [*self.folder.glob("*.hdf5"), self.manifest]:
            old.unlink(missing_ok=True)
        write_json(plan_file, plan)

    def _read_manifest(self) -> None:
        """Find the finished shards: the manifest lists them, and they can be opened. Torn lines are ignored."""
        for temporary in self.folder.glob(".*.tmp"):
            temporary.unlink()
        lines = self.manifest.read_text(errors="replace").splitlines() if self.manifest.exists() else []
        planned, expected = set(self.plan.shards()), (self.plan.split, self.plan.seed)
        for line in lines:
            try:
                entry = json.loads(line)
                shard = Shard(int(entry["start"]), int(entry["stop"]))
                if shard not in planned or not isinstance(entry["notes"], dict):
                    continue
                header = ColumnFile(self._shard_path(shard)).header
                if _content(header) == (*expected, shard.stop - shard.start, entry["content_sha256"]):
                    self.finished[shard] = entry["notes"]
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue

    def _shard_path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.start:09d}-{shard.stop:09d}.hdf5"

    def missing(self) -> list[Shard]:
        """Return the shards that are not written yet."""
        return [shard for shard in self.plan.shards() if shard not in self.finished]

    def num_finished(self) -> int:
        """Return the number of networks in the shards that are written."""
        return sum(shard.stop - shard.start for shard in self.finished)

    def write(self, shard: Shard, columns: Columns, notes: Mapping[str, Any] | None = None) -> None:
        """Write a shard, then list it in the manifest.

        Args:
            shard: number of the shard.
            columns: its networks.
            notes: JSON values that a later run needs to know about the shard.
        """
        path = self._shard_path(shard)
        path.unlink(missing_ok=True)  # written, but not listed, before a kill
        content = write_columns(path, self.plan.split, self.plan.seed, self.plan.toolkit_version, columns)
        self.finished[shard] = dict(notes or {})
        entry = {"start": shard.start, "stop": shard.stop, "content_sha256": content, "notes": self.finished[shard]}
        append_json_line(self.manifest, entry)

    def assemble(self) -> None:
        """Merge all shards into one file, still in the folder, unless this process has done that already.

        Raises:
            FileError: a shard is damaged; it is deleted, so that the next run writes it again.
        """
        if self._is_merged or self._is_published():
            return
        self._merged.unlink(missing_ok=True)
        shards = [self._shard_path(shard) for shard in self.plan.shards()]
        try:
            merge(self._merged, shards, self.plan.compress)
        except FileError as error:
            damaged = [shard for shard in shards if find_damaged_columns(shard)]
            for shard in damaged:
                shard.unlink()
            advice = "; give the same command again, which makes it anew" if damaged else ""
            raise FileError(f"{error}{advice}") from None
        self._is_merged = True

    def publish(self, overwrite: bool) -> None:
        """Merge all shards, and give the merged file its name.

        Raises:
            FileExistsError: the file exists, and must not be overwritten.
            FileError: a shard is damaged; it is deleted, so that the next run writes it again.
        """
        self.assemble()
        if not self._is_published():
            write_json(self._published, self._identity(self._merged), durable=True)
            move_into_place(self._merged, self.path, overwrite)

    def _is_published(self) -> bool:
        """Tell whether the file was made from this folder and plan, and neither changed nor replaced since."""
        return self.path.exists() and _read_json(self._published) == self._identity(self.path)

    def _identity(self, file: Path) -> dict[str, Any]:
        """Return what is recorded before the file gets its name."""
        return {**asdict(self.plan), "file": file_state(file)}


def _content(header: Header) -> tuple[str, int, int, str]:
    return header.split, header.seed, header.num_networks, header.content_sha256


def file_state(path: Path) -> str:
    """Return size and time of change of a file as text; they stay when it is renamed."""
    status = path.stat()
    return f"{status.st_size} bytes, changed {status.st_mtime_ns}"


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if the file is missing or torn."""
    try:
        content = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
