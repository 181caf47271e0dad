"""Folder of a run: the identity of the run, and the rows of results so far."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.core.protocol import ROW_COLUMNS
from benchmarks.execution.jobs import Row
from benchmarks.execution.run_config import Job
from benchmarks.protocols.registry import get_protocol
from benchmarks.training.job_folder import file_stem, forget_unfinished
from deepnets.utils.atomic_files import append_json_line
from deepnets.utils.run_directory import RunDirectory


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
        """Return the complete rows by job; a kill may have cut one off."""
        protocol = get_protocol(self.identity["protocol"]["name"])
        needed = {"ok": {"seconds", *protocol.row_columns}, "failed": {"seconds", *ROW_COLUMNS}}
        rows = {}
        for line in self._rows.read_text(errors="replace").splitlines() if self._rows.exists() else []:
            try:
                row = json.loads(line)
                if needed[row["status"]] <= row.keys():
                    rows[Job(row["group"], row["index"], row["repeat"])] = row
            except (ValueError, KeyError, TypeError):
                continue
        return rows

    def append(self, row: Row) -> None:
        """Store a row durably, and remove the states of the training that led to it."""
        append_json_line(self._rows, row)
        forget_unfinished(self.path, file_stem(row["name"], row["repeat"]))
