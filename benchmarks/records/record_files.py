"""Files of records: `<run_id>.json` and, beside it, `<run_id>.csv.gz` with the table of networks."""

import gzip
import json
import zlib
from pathlib import Path

from benchmarks.records.record import Record, RecordError
from deepnets.utils.atomic_files import atomic_write, write_json
from deepnets.utils.errors import one_line


def table_path(path: Path) -> Path:
    """Return the path of the table that belongs to the file of a record."""
    return path.with_name(path.name.removesuffix(".json") + ".csv.gz")


def write_record(folder: Path, record: Record, table: bytes) -> Path:
    """Write a record and its table; the record comes last, so a record without its table is never seen.

    Returns:
        The record's file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['run_id']}.json"
    atomic_write(table_path(path), gzip.compress(table, mtime=0))
    write_json(path, record, allow_nan=False)
    return path


def find_record(folder: Path) -> Path:
    """Return the record's file in the folder of a finished run.

    Raises:
        RecordError: there is none, or several.
    """
    paths = [path for path in folder.glob("*.json") if table_path(path).exists()]
    if len(paths) != 1:
        raise RecordError(f"{folder} has {len(paths)} records; give the folder of one finished run")
    return paths[0]


def read_record(path: Path) -> tuple[Record, bytes]:
    """Read a record and its table. Only `find_problems` makes sure that its fields are right.

    Raises:
        RecordError: a file is missing or damaged.
    """
    try:
        record = json.loads(path.read_text(), parse_constant=_refuse_constant)
        with gzip.open(table_path(path)) as file:
            table = file.read()
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise RecordError(f"{path.name} cannot be read ({one_line(error)})") from None
    if not isinstance(record, dict):
        raise RecordError(f"{path.name} is not a record")
    return record, table  # type: ignore[return-value]


def _refuse_constant(value: str) -> float:
    raise ValueError(f"it has the number {value}")
