"""Checks of the table of a record: its columns, its rows, and the values of each row."""

import csv
import io
import re
from collections.abc import Iterator
from math import isfinite
from typing import Any

from benchmarks.core.protocol import Protocol
from benchmarks.records.possible_accuracies import COUNTED_COLUMNS, TEST_IMAGES, impossible_accuracy
from benchmarks.records.record import Record, RecordError, record_jobs

_LONGEST_REASON = 300
_MORE_ACCURACIES = ("val_top1", "noisy_val_top1")


def table_problems(record: Record, table: bytes, protocol: Protocol[Any, Any], settings: Any) -> Iterator[str]:
    """Yield what is wrong with a table, one sentence each.

    Args:
        record: its fields have been checked.
        table: CSV text of the rows.
        protocol: protocol of the record.
        settings: recorded settings of the protocol.

    Raises:
        RecordError: the table is not text.
    """
    columns = list(protocol.row_columns)
    expected = sum(record["networks"].values()) * record["repeats"]
    num_lines = table.count(b"\n") - 1
    if num_lines > expected:  # counted before anything is parsed
        yield f"its table has {num_lines} lines instead of one for each network and repetition"
        return
    header, *lines = list(csv.reader(io.StringIO(_decode(table)))) or [[]]
    if header != columns or any(len(line) != len(columns) for line in lines):
        yield f"its table has other columns than {', '.join(columns)}"
        return
    if len(lines) != expected:
        yield f"its table has {len(lines)} lines instead of one for each network and repetition"
        return
    jobs = [(job.group, str(job.index), str(job.repeat)) for job in record_jobs(record)]
    keys = [tuple(line[:3]) for line in lines]
    if keys != jobs:
        missing = set(jobs).difference(keys)
        first = next((" ".join(job) for job in jobs if job in missing), "")
        yield f"its table has no line for {first}" if first else "its table has lines in another order"
        return
    for number, line in enumerate(lines, 2):
        problems = _row_problems(dict(zip(columns, line, strict=True)), protocol, settings)
        yield from (f"line {number} of its table: {problem}" for problem in problems)
    yield from _count_problems(record, [dict(zip(columns, line, strict=True)) for line in lines])


def _count_problems(record: Record, rows: list[dict[str, str]]) -> Iterator[str]:
    """Yield an accuracy of each column that no number of images gives."""
    for name in COUNTED_COLUMNS:
        num_images = None if name == "val_top1" else TEST_IMAGES.get(record["dataset"]["name"])
        measured = [row for row in rows if row["status"] == "ok" and name in row]
        numbers = [parse_number(row[name]) for row in measured]
        if not all(map(isfinite, numbers)):
            return  # said already
        value = impossible_accuracy(numbers, num_images)
        if value is not None:
            images = f"{num_images} images" if num_images else "a number of images that fits the others"
            yield f"{name} of {measured[numbers.index(value)]['name']} is {value!r}, which {images} cannot give"


def _decode(table: bytes) -> str:
    try:
        return table.decode()
    except UnicodeDecodeError:
        raise RecordError("it is not text in UTF-8") from None


def _row_problems(row: dict[str, str], protocol: Protocol[Any, Any], settings: Any) -> Iterator[str]:
    results = (*protocol.columns, *protocol.accuracy_columns)
    texts = {name for name, lists in protocol.choices.items() if isinstance(getattr(settings, lists[0])[0], str)}
    if len(row["reason"]) > _LONGEST_REASON:
        yield f"its reason has more than {_LONGEST_REASON} characters"
    if row["status"] == "failed":
        if not row["reason"]:
            yield "it failed without a reason"
        if any(row[name] for name in results):
            yield "it failed and has results"
        return
    if row["status"] != "ok":
        yield f"its status is {row['status']!r}; accepted: ok, failed"
    numbers = {name: parse_number(row[name]) for name in ("params", "batch_size", *results) if name not in texts}
    for name, value in numbers.items():
        is_accuracy = name in (*protocol.accuracy_columns, *_MORE_ACCURACIES)
        if not isfinite(value) or (is_accuracy and not 0 <= value <= 1):
            yield f"{name} is {row[name]!r}, which is not {'an accuracy' if is_accuracy else 'a number'}"
    sizes = protocol.batch_sizes(settings)
    if numbers["batch_size"] not in sizes:
        yield f"batch_size is {row['batch_size']}; accepted: {', '.join(map(str, sizes))}"
    for name, lists in protocol.choices.items():
        choices = [value for each in lists for value in getattr(settings, each)]
        if (row[name] if name in texts else numbers[name]) not in choices:
            yield f"{name} is {row[name]}, but its settings have {', '.join(map(str, choices))}"
    if protocol.accuracy_columns == ("top1", "top5") and numbers["top1"] > numbers["top5"]:
        yield "top1 is above top5"


def parse_number(text: str) -> float:
    """Return a number in one of the forms that Python writes; NaN for all others, which some readers do not accept."""
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?", text) else float("nan")
