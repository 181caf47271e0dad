"""The folder of the leaderboards: records, which are the truth, and the tables and the page that are made from them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, RecordError
from benchmarks.records.record_files import MAX_RECORD_BYTES, find_record, read_record, table_path, write_record
from benchmarks.records.validation import Datasets, find_clashes, find_problems
from benchmarks.records.verified import Verification, entry_problem
from benchmarks.reporting.html_page import render_page
from benchmarks.reporting.rows import leaderboard_rows
from benchmarks.reporting.tables import to_csv, to_markdown
from deepnets.utils.atomic_files import atomic_write, write_json
from deepnets.utils.bounded_files import read_json_at_most
from deepnets.utils.errors import one_line

DATASETS = "datasets.json"
VERIFIED = "verified.json"
CONFIRMED = "weights.json"


class LeaderboardFolder:
    """A folder of leaderboards.

    Args:
        root: the folder. It has `runs/`, the records, and `datasets.json`, the sha256 of the images by data set and
            image size.

    Raises:
        RecordError: the folder has no `datasets.json`, or one of its JSON files is damaged.
    """

    def __init__(self, root: Path) -> None:
        root = root.expanduser()
        if not (root / DATASETS).is_file():
            raise RecordError(f"{root} is not a folder of leaderboards: it has no {DATASETS} (give another --root)")
        self.root, self.runs = root, root / "runs"
        self.datasets: Datasets = self._read_json(DATASETS)
        if not all(isinstance(sizes, dict) for sizes in self.datasets.values()):
            raise RecordError(f"{root / DATASETS} must have sha256 by name of data and image size")
        self.verified: dict[str, Verification] = self._read_json(VERIFIED)
        self.confirmed: dict[str, str] = self._read_json(CONFIRMED)

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.root / name
        try:
            content = read_json_at_most(path, MAX_RECORD_BYTES) if path.exists() else {}
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"{path} cannot be read ({one_line(error)})") from None
        if not isinstance(content, dict):
            raise RecordError(f"{path} is not a JSON object")
        return content

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        write_json(self.root / name, content, sort_keys=True)

    def record_paths(self) -> list[Path]:
        """Return the files of all records."""
        return sorted(self.runs.glob("*.json"))

    def checked_record(self, run_id: str) -> tuple[Record, bytes]:
        """Return a record and its table, after all checks.

        Raises:
            RecordError: there is no such record, or it is wrong.
        """
        record, table = read_record(self.runs / f"{run_id}.json")
        for problem in find_problems(record, table, self.datasets, self.confirmed):
            raise RecordError(f"{run_id}: {problem}")
        return record, table

    def read_records(self) -> list[tuple[Record, bytes]]:
        """Return all records and their tables; the status of those in `verified.json` is verified.

        Raises:
            RecordError: a record cannot be read.
        """
        records = [read_record(path) for path in self.record_paths()]
        for record, _ in records:
            entry = self.verified.get(record["run_id"])
            if isinstance(entry, dict) and entry.get("rows_sha256") == record["rows_sha256"]:
                record["status"] = "verified"
        return records

    def render(self) -> dict[str, str]:
        """Return the contents of the generated files by name."""
        records = self.read_records()
        boards = {name: leaderboard_rows(name, [record for record, _ in records]) for name in PROTOCOLS}
        guide = (Path(__file__).parent / "guide.md").read_text()
        tables = [f"## {name}: {PROTOCOLS[name].about}\n\n{to_markdown(name, lines)}" for name, lines in boards.items()]
        return {
            **{f"{name}.csv": to_csv(name, lines) for name, lines in boards.items()},
            "README.md": "\n".join([guide, *tables]),
            "index.html": render_page(boards, records),
        }

    def write_generated_files(self) -> list[Path]:
        """Write the tables and the page again, and return their paths."""
        contents = self.render()
        for name, content in contents.items():
            atomic_write(self.root / name, content)
        return [self.root / name for name in contents]

    def submit(self, run_folder: Path) -> tuple[Record, list[Path]]:
        """Check the record of a finished run, copy it to the leaderboards and update the tables.

        The first record of a data set defines what later records of this data set must be measured on.

        Returns:
            The record, and the paths of all files that were written, that of the record first.

        Raises:
            RecordError: the record is wrong, or on the leaderboard already, or another record there is wrong.
        """
        source = find_record(run_folder)
        record, table = read_record(source)
        run_id = record.get("run_id")
        if (self.runs / f"{run_id}.json").exists():
            raise RecordError(f"{run_id}.json is on the leaderboard already")
        for problem in find_problems(record, table, self.datasets, self.confirmed):
            raise RecordError(f"{source.name}: {problem}")
        self.require_right_records()
        for name, problem in find_clashes([*self.read_records(), (record, table)]):
            if name == run_id:
                raise RecordError(f"{source.name}: {problem}")
        self._remember_data(record)
        path = write_record(self.runs, record, table)
        return record, [path, self.root / DATASETS, *self.write_generated_files()]

    def _remember_data(self, record: Record) -> None:
        data = record["dataset"]
        sizes = self.datasets.setdefault(data["name"], {})
        if str(data["image_size"]) not in sizes:
            sizes[str(data["image_size"])] = data["sha256"]
            self._write_json(DATASETS, self.datasets)

    def mark_verified(self, record: Record, entry: Verification) -> None:
        """List a record in `verified.json` and update the tables."""
        self.verified[record["run_id"]] = entry
        self._write_json(VERIFIED, self.verified)
        self.write_generated_files()

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with records, tables and the page, one sentence each."""
        record_problems = list(self._record_problems())
        yield from record_problems
        yield from self._stray_files()
        if record_problems:
            return  # tables cannot be made of such records
        for name, content in self.render().items():
            path = self.root / name
            if not path.exists() or path.read_bytes() != content.encode():
                yield f"{path} is not what the records give; `python -m benchmarks.leaderboard render` writes it"

    def _record_problems(self) -> Iterator[str]:
        """Yield what is wrong with records, alone and compared with one another."""
        right = []
        for path in self.record_paths():
            try:
                record, table = read_record(path)
            except RecordError as error:
                yield str(error)
                continue
            wrong = find_problems(record, table, self.datasets, self.confirmed)
            if not wrong and path.name != f"{record['run_id']}.json":
                wrong = [f"it is a duplicate of {record['run_id']}, or has the wrong file name"]
            yield from (f"{path.name}: {problem}" for problem in wrong)
            right += [] if wrong else [(record, table)]
        yield from (f"{name}: {problem}" for name, problem in find_clashes(right))
        by_name = {record["run_id"]: record for record, _ in right}
        problems = (entry_problem(entry, by_name, run_id) for run_id, entry in self.verified.items())
        yield from (f"{VERIFIED}: {problem}" for problem in problems if problem)

    def require_right_records(self) -> None:
        """Raise RecordError if a record is wrong, because tables cannot be made of it."""
        for problem in self._record_problems():
            raise RecordError(f"a record of the leaderboards is wrong: {problem}")

    def _stray_files(self) -> Iterator[str]:
        """Yield the files in `runs/` that do not belong to a record."""
        expected = {name for path in self.record_paths() for name in (path.name, table_path(path).name)}
        for path in sorted(self.runs.iterdir()) if self.runs.is_dir() else []:
            if path.name not in expected:
                yield f"{path} belongs to no record"
