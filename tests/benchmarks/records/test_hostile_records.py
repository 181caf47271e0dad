"""Records that somebody made to mislead, or to fill the memory, are refused in one sentence."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.possible_accuracies import impossible_accuracy
from benchmarks.records.record import Record, RecordError
from benchmarks.records.record_files import read_record, table_path, write_record
from benchmarks.records.validation import find_problems
from tests.benchmarks.records.test_validation import changed
from tests.support.made_up_records import made_up_record
from tests.support.paths import LEADERBOARDS


def test_large_files_are_not_read(tmp_path: Path) -> None:
    path = write_record(tmp_path, *made_up_record())
    table_path(path).write_bytes(gzip.compress(bytes(2**26), 1))
    with pytest.raises(RecordError, match=r"csv.gz has more than 16,777,216 bytes"):
        read_record(path)
    path.write_text(json.dumps({"command": "x" * 2**20}))
    with pytest.raises(RecordError, match=r"json has more than 1,048,576 bytes"):
        read_record(path)


def test_lines_are_counted_before_they_are_parsed() -> None:
    record, table = made_up_record()
    assert find_problems(record, table, {}) == []
    (problem,) = find_problems(*_with_table(record, table + b"\n" * 1000), {})
    assert problem == "its table has 1012 lines instead of one for each network and repetition"


def _with_table(record: Record, table: bytes) -> tuple[Record, bytes]:
    return {**record, "rows_sha256": hashlib.sha256(table).hexdigest()}, table


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("command", "x" * 4001, "command: it has 4001 characters; accepted: up to 4000"),
        ("command", "run\x1b[2J", "cannot be printed"),
        ("environment", {"torch": "x" * 201}, "environment.torch: it has 201 characters; accepted: up to 200"),
        ("environment", {f"key{i}": 1 for i in range(41)}, "environment: it has 41 entries; accepted: up to 40"),
        ("environment", {"torch\n": "2"}, "a line break or another character that cannot be printed"),
        ("date", "1000-01-01", "is before 2026-11-21, the day of the toolkit's first version"),
    ],
)
def test_texts_are_short_and_printable(field: Any, value: object, message: str) -> None:
    record, table = made_up_record()
    record[field] = value  # type: ignore[literal-required]
    with pytest.raises(RecordError, match=message):
        raise RecordError("; ".join(find_problems(record, table, {})))


def test_hashes_do_not_end_with_a_line_break() -> None:
    """`$` of a pattern also matches before a line break at the end."""
    record, table = made_up_record()
    record["rows_sha256"] += "\n"
    assert any("a line break" in problem for problem in find_problems(record, table, {}))


def test_long_reasons_are_refused() -> None:
    def long_reason(r: Record, lines: list[dict[str, str]]) -> None:
        lines[2]["reason"] = "x" * 301

    problems = find_problems(*changed(long_reason), {})
    assert problems == ["line 4 of its table: its reason has more than 300 characters"]


@pytest.mark.parametrize(
    ("value", "dataset", "message"),
    [
        ("0.987654321", "digits", "top5 of test/0 is 0.987654321, which 300 images cannot give"),
        ("0.995", "digits", "top5 of test/0 is 0.995, which 300 images cannot give"),
        ("0.987654321", "mine", "which a number of images that fits the others cannot give"),
    ],
)
def test_accuracies_that_images_cannot_give(value: str, dataset: str, message: str) -> None:
    def edited(r: Record, lines: list[dict[str, str]]) -> None:
        lines[0]["top5"] = value
        r["dataset"]["name"] = dataset

    (problem,) = find_problems(*changed(edited), {})
    assert message in problem


def test_accuracies_that_images_can_give() -> None:
    for num_images in (7, 300, 50_000, 999_983):
        values = [k / num_images for k in (0, 1, num_images // 3, num_images - 1, num_images)]
        assert impossible_accuracy(values) is None
        assert impossible_accuracy(values, num_images) is None
        assert impossible_accuracy([*values, 0.5 / num_images], num_images) == 0.5 / num_images
    for path in (LEADERBOARDS / "runs").glob("*.json"):
        assert not find_problems(*read_record(path), {}), path.name
