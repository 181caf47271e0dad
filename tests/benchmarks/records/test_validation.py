"""What is wrong with a record is found."""

import copy
import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.execution.run_config import RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.leaderboard import Submit
from benchmarks.protocols import finetune
from benchmarks.records.record import Record, RecordError, make_record, run_id
from benchmarks.records.record_files import write_record
from benchmarks.records.validation import find_problems
from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
from tests.support.made_up_records import edited, made_up_record, rows_of

# Each function changes record and lines of results; hashes are made to fit where a careful cheater would.


def changed(change: Callable[[Record, list[dict[str, str]]], None], fit: bool = True) -> tuple[Record, bytes]:
    record, table = copy.deepcopy(made_up_record())
    lines = list(csv.DictReader(io.StringIO(table.decode())))
    change(record, lines)
    frame = pd.DataFrame(lines)
    table = frame.to_csv(index=False, lineterminator="\n").encode()
    if fit:
        record["rows_sha256"] = hashlib.sha256(table).hexdigest()
        record["run_id"] = run_id(record)
    return record, table


def mean(r: Record, lines: Any) -> None:
    r["results"]["test"]["top1"]["mean"] += 0.02


def dropped_failure(r: Record, lines: list[dict[str, str]]) -> None:
    del lines[2]


def hidden_failure(r: Record, lines: list[dict[str, str]]) -> None:
    lines[2] |= {"status": "ok", "reason": "", "top1": "0.5", "top5": "0.9"}


def failure_with_results(r: Record, lines: list[dict[str, str]]) -> None:
    lines[2] |= {"top1": "0.5", "top5": "0.9"}


def failure_without_reason(r: Record, lines: list[dict[str, str]]) -> None:
    lines[2]["reason"] = ""


def nan(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0]["top1"] = "nan"


def above_one(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0] |= {"top1": "1.5", "top5": "1.5"}


def crossed(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0]["top5"] = "0.01"


def one_network_better(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0]["top1"] = lines[0]["top5"]


def other_network(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0]["params"] = "12345"


def other_name(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0]["name"] = "test/1"


def other_order(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0], lines[1] = lines[1], lines[0]


def unknown_split(r: Record, lines: list[dict[str, str]]) -> None:
    r["networks"]["easy"] = 6


def more_than_there_are(r: Record, lines: list[dict[str, str]]) -> None:
    r["networks"]["bnfree"] = 101


def other_version(r: Record, lines: Any) -> None:
    r["protocol"]["version"] = 99


def unknown_protocol(r: Record, lines: Any) -> None:
    r["protocol"]["name"] = "magic"


def other_settings(r: Record, lines: Any) -> None:
    r["protocol"]["settings"] = {"epochs": 3}


def other_data(r: Record, lines: Any) -> None:
    r["dataset"]["sha256"]["test"] = "0" * 64


def random_weights(r: Record, lines: Any) -> None:
    r["status"] = "dev"


def extra_field(r: Any, lines: Any) -> None:
    r["stars"] = 5


def missing_field(r: Any, lines: Any) -> None:
    del r["commit"]


def wrong_type(r: Any, lines: Any) -> None:
    r["seed"] = "0"


def no_day(r: Record, lines: Any) -> None:
    r["date"] = "2026-02-30"


def formula_in_a_name(r: Record, lines: Any) -> None:
    r["dataset"]["name"] = "=1+1"


def odd_batch(r: Record, lines: list[dict[str, str]]) -> None:
    lines[0]["batch_size"] = "48"


def not_yet(r: Record, lines: Any) -> None:
    r["date"] = "2999-01-01"


def layer_of_nothing(r: Record, lines: Any) -> None:
    r["model"]["orth_layer"] = 3


def text_in_settings(r: Record, lines: Any) -> None:
    r["protocol"]["settings"] = {"truth": "| <b>"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (mean, "top1 of test is"),
        (dropped_failure, "its table has 11 lines"),
        (hidden_failure, "failed of test is 1, but its table gives 0"),
        (failure_with_results, "it failed and has results"),
        (failure_without_reason, "it failed without a reason"),
        (nan, "top1 is 'nan', which is not an accuracy"),
        (above_one, "top1 is '1.5', which is not an accuracy"),
        (crossed, "top1 is above top5"),
        (one_network_better, "top1 of test is"),
        (other_network, "test/0 has"),
        (other_name, "networks of test have other names"),
        (other_order, "lines in another order"),
        (unknown_split, "there are no networks 'easy'"),
        (more_than_there_are, "it has 101 networks of bnfree, of which there are 100"),
        (other_version, "its version of no_finetune is 99; accepted: 1"),
        (unknown_protocol, "there is no protocol 'magic'"),
        (other_settings, "its settings are not settings of no_finetune"),
        (other_data, "its images have other sha256 than those of digits"),
        (random_weights, "its status is dev"),
        (extra_field, "'stars' was unexpected"),
        (missing_field, "'commit' is a required property"),
        (wrong_type, "seed: '0' is not of type 'integer'"),
        (no_day, "date: 2026-02-30 is not a date"),
        (not_yet, "date: 2999-01-01 is in the future"),
        (odd_batch, "batch_size is 48; accepted: 64, 32, 16, 8"),
        (layer_of_nothing, "randinit has no layers that are made orthogonal"),
        (formula_in_a_name, "does not match '^[A-Za-z0-9"),
        (text_in_settings, "is not valid under any of the given schemas"),
    ],
)
def test_wrong_records_are_found(change: Any, message: str, board: Path, tmp_path: Path) -> None:
    record, table = changed(change)
    write_record(tmp_path / "wrong", record, table)
    with pytest.raises(RecordError) as refused:
        Submit(tmp_path / "wrong", board).run()
    already = record["run_id"] == made_up_record()[0]["run_id"]
    assert already or message in str(refused.value)
    write_record(board / "runs", record, table)
    assert any(message in problem for problem in LeaderboardFolder(board).problems())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("lr", 0.2, "lr is 0.2, but its settings have 0.4, 0.1, 0.04, 0.01, 0.001"),
        ("val_top1", 1.5, "val_top1 is '1.5', which is not an accuracy"),
        ("params", "", "params is '', which is not a number"),
    ],
)
def test_other_columns_are_checked_too(column: str, value: float | str, message: str) -> None:
    plan = RunConfig("finetune", finetune.FinetuneConfig(), "randinit", "digits", ("test",), num=1)
    rows = [edited(rows_of(plan)[0], **{column: value})]
    problems = find_problems(*make_record(plan, load_run_context(plan), rows, ["run"]), {})
    assert problems == [f"line 2 of its table: {message}"]


def test_changes_without_new_hashes_are_found(board: Path) -> None:
    for change, message in ((one_network_better, "another sha256 than rows_sha256"), (other_data, "its run_id is")):
        write_record(board / "runs", *changed(change, fit=False))
        assert any(message in problem for problem in LeaderboardFolder(board).problems())


@pytest.mark.parametrize("change", [{"epochs": "1"}, {"lrs": [0.4, "x"]}, {"lrs": 0.4}, {"epochs": True}])
def test_settings_are_of_their_kind(change: dict[str, Any]) -> None:
    plan = RunConfig("finetune", finetune.FinetuneConfig(), "randinit", "digits", ("test",), num=1)
    record, table = make_record(plan, load_run_context(plan), rows_of(plan), ["run"])
    record["protocol"]["settings"] |= change
    record["run_id"] = run_id(record)
    (found,) = find_problems(record, table, {})
    assert "its settings are not settings of finetune" in found or "protocol.settings" in found


def test_records_of_replaced_versions_are_refused() -> None:
    """As they were written when trained networks were scored with the statistics of test batches."""
    plan = RunConfig("finetune", finetune.FinetuneConfig(), "randinit", "digits", ("test",), num=3)
    record, table = make_record(plan, load_run_context(plan), rows_of(plan), ["run"])
    assert find_problems(record, table, {}) == []
    record["protocol"] |= {"version": 1, "settings": {"epochs": 1.0, "lrs": [0.1, 0.01], "beta": 1e-5}}
    record["run_id"] = run_id(record)
    assert find_problems(record, table, {}) == [
        "its version of finetune is 1; accepted: 2, so it has to be measured again"
    ]


def test_weights_need_a_hash() -> None:
    record, table = made_up_record()
    for name, sha256, message in (("mine", None, "needs a weights_sha256"), ("randinit", "a" * 64, "has no weights")):
        record["model"] |= {"name": name, "weights_sha256": sha256}
        record["run_id"] = run_id(record)
        assert any(message in problem for problem in find_problems(record, table, {}))


@pytest.mark.parametrize("place", [("networks", "test"), ("repeats",), ("seed",), ("dataset", "image_size")])
def test_integers_are_integers(place: tuple[str, ...]) -> None:
    record, table = made_up_record()
    inner: Any = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = float(inner[place[-1]])
    assert any("is not of type 'integer'" in p or "is not one of" in p for p in find_problems(record, table, {}))


@pytest.mark.parametrize("field", sorted(made_up_record()[0]))
def test_every_field_is_needed(field: str, board: Path, tmp_path: Path) -> None:
    record: Any
    record, table = made_up_record()
    path = write_record(tmp_path / "bad", record, table)
    del record[field]
    path.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=f"'{field}' is a required property|is on the leaderboard already"):
        Submit(tmp_path / "bad", board).run()
    assert any(f"'{field}' is a required property" in problem for problem in find_problems(record, table, {}))


def test_numbers_that_readers_understand_differently_are_refused() -> None:
    for text in ("0.0_1", " 0.5", "1e400", "\u0660.5", "inf"):

        def written(r: Record, lines: list[dict[str, str]], text: str = text) -> None:
            lines[0]["top1"] = text

        record, table = changed(written)
        assert any("which is not an accuracy" in problem for problem in find_problems(record, table, {}))
