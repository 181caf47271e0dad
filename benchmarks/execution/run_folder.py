"""Folder of a run: the identity of the run, and the rows of results so far."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.core.evaluation_networks import network_at
from benchmarks.core.protocol import ROW_COLUMNS
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import Job
from benchmarks.protocols.registry import get_protocol
from benchmarks.training.job_folder import file_stem, forget_unfinished
from deepnets.utils.atomic_files import append_json_line
from deepnets.utils.run_directory import RunDirectory

_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("group", "name", "status", "reason"), (str,)),
    **dict.fromkeys(("index", "repeat", "params", "batch_size"), (int,)),
    "seconds": (int, float),
}
"""Types of the columns of any protocol; those of its own are numbers or texts."""
_LARGEST = 1e300


def _is_sound(value: float | str) -> bool:
    return value.isprintable() if isinstance(value, str) else -_LARGEST < value < _LARGEST


class RunFolder:
    """The folder of a run, in which each row of results is stored as soon as it exists.

    Args:
        path: the folder; made if it is missing.
        identity: what defines the run; a folder with another one is refused.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = path, identity
        self._directory = RunDirectory(path, identity, "run")
        self._rows = path / "rows.jsonl"

    def check(self) -> None:
        """Raise FileError if another run is in the folder."""
        self._directory.check()

    @contextmanager
    def open(self) -> Iterator[dict[Job, Row]]:
        """Lock the folder against other processes, and yield the rows that exist.

        Raises:
            FileError: another run is in the folder, or another process works on this one.
        """
        with self._directory.locked():
            yield self._read()

    def _read(self) -> dict[Job, Row]:
        """Return the complete rows by job. A kill may have cut one off; those that are damaged are measured again."""
        lines = self._rows.read_text(errors="replace").splitlines() if self._rows.exists() else []
        rows = [self._row(line) for line in lines if line]
        if damaged := sum(row is None for row in rows):
            print(f"{self._rows} has {damaged} damaged lines, which are measured again", file=sys.stderr)
        return {row.job: row for row in rows if row is not None}

    def _row(self, line: str) -> Row | None:
        """Return the row in a line, None if it is not one that this run writes."""
        try:
            columns = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return None
        protocol = get_protocol(self.identity["protocol"]["name"])
        names = {"ok": protocol.row_columns, "failed": ROW_COLUMNS}
        if not isinstance(columns, dict) or not isinstance(status := columns.get("status"), str) or status not in names:
            return None
        types = {**dict.fromkeys((*names[status], "seconds"), (int, float, str)), **_TYPES}
        types |= dict.fromkeys(protocol.accuracy_columns if status == "ok" else (), (int, float))
        if any(type(columns.get(name)) not in kinds or not _is_sound(columns[name]) for name, kinds in types.items()):
            return None
        row, counts = Row.from_columns(columns), self.identity["networks"]
        job = row.job
        known = 0 <= job.index < counts.get(job.group, 0) and 0 <= job.repeat < self.identity["repeats"]
        return row if known and row.name == network_at(job.group, job.index).name else None

    def append(self, row: Row) -> None:
        """Store a row durably, and remove the states of the training that led to it."""
        append_json_line(self._rows, row.columns())
        forget_unfinished(self.path, file_stem(row.name, row.job.repeat))
