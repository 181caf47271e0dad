"""Files of records: `<run_id>.json` and, beside it, `<run_id>.csv.gz` with the table of networks."""

import gzip
import zlib
from pathlib import Path

from benchmarks.records.record import Record, RecordError
from deepnets.utils.atomic_files import atomic_write, write_json
from deepnets.utils.bounded_files import decompress_at_most, read_json_at_most
from deepnets.utils.errors import one_line

MAX_RECORD_BYTES = 2**20
MAX_TABLE_BYTES = 2**24
"""Largest record and table that are read; those of 1,000 networks with 100 repetitions have about half of it."""


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
        RecordError: a file is missing, damaged or too large.
    """
    try:
        record = read_json_at_most(path, MAX_RECORD_BYTES)
        table = decompress_at_most(table_path(path), MAX_TABLE_BYTES)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise RecordError(f"{path.name} cannot be read ({one_line(error)})") from None
    if not isinstance(record, dict):
        raise RecordError(f"{path.name} is not a record")
    return record, table  # type: ignore[return-value]
