"""Leaderboards: what is wrong with a record is found, tables are what the records say, papers' numbers are theirs."""

import copy
import csv
import gzip
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import checks, leaderboard, record
from benchmarks.execution import RunFolder, compute
from benchmarks.leaderboard import Board, Check, Render, Submit, Verify
from benchmarks.networks import EVALUATION_SPLITS
from benchmarks.paper_tables import paper_tables, published_rows
from benchmarks.protocols import PROTOCOLS, finetune
from benchmarks.protocols.no_finetune import Settings
from benchmarks.record import Record, RecordError
from benchmarks.runs import Plan, Row, context
from benchmarks.tables import lines_of, summary, to_csv, to_markdown
from deepnets.sampling import sample_networks

ROOT = Path(__file__).parent.parent / "leaderboards"
PLAN = Plan("no_finetune", Settings(), "randinit", "digits", ("test", "bnfree"), num=6)


def rows_of(plan: Plan, seed: int = 0) -> list[Row]:
    """Lines of results with made-up accuracies; one network failed."""
    rng = np.random.default_rng(seed)
    kind = PROTOCOLS[plan.protocol]
    rows: list[Row] = []
    for job in plan.jobs():
        group = sample_networks(job.group, job.index, job.index + 1)
        architecture = replace(group.table[0], channels=int(group.channels_32[0]))
        row: Row = {"group": job.group, "index": job.index, "repeat": job.repeat, "name": f"{job.group}/{job.index}"}
        row |= {"params": architecture.num_params(32, 10), "batch_size": kind.batch_size, "seconds": 1.0}
        if (job.group, job.index) == ("test", 2):
            rows.append(row | {"status": "failed", "reason": "RuntimeError: too deep"})
            continue
        top1 = rng.uniform(0.1, 0.9)
        values = {"top1": top1, "top5": rng.uniform(top1, 1), "lr": 0.1, "val_top1": top1}
        rows.append(row | {"status": "ok", "reason": "", **{k: values[k] for k in (*kind.columns, *kind.metrics)}})
    return rows


def made(plan: Plan = PLAN, seed: int = 0) -> tuple[Record, bytes]:
    return record.make(plan, context(plan), rows_of(plan, seed), ["python", "-m", "benchmarks.run"])


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder of leaderboards with one record."""
    root = tmp_path / "leaderboards"
    (root / "runs").mkdir(parents=True)
    shutil.copy(ROOT / "datasets.json", root)
    record.write(tmp_path / "run", *made())
    assert Submit(tmp_path / "run", root).run() == 0
    return root


def test_the_leaderboards_of_this_repository_are_right() -> None:
    assert list(Board(ROOT).problems()) == []


def test_submitted_records_pass(board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Check(board).run() == 0
    assert "1 records, 0 problems" in capsys.readouterr().out
    with pytest.raises(RecordError, match="is on the leaderboard already"):
        Submit(tmp_path / "run", board).run()
    with pytest.raises(RecordError, match="has 0 records"):
        Submit(tmp_path, board).run()
    with pytest.raises(RecordError, match="is no folder of leaderboards"):
        Board(tmp_path)


def test_data_sets_are_remembered(board: Path, tmp_path: Path) -> None:
    record_, table = made()
    record_["dataset"] |= {"name": "my_images", "sha256": {"train": "1" * 64, "val": "2" * 64, "test": "3" * 64}}
    record_["run_id"] = record.run_id(record_)
    record.write(tmp_path / "mine", record_, table)
    Submit(tmp_path / "mine", board).run()
    assert Board(board).datasets["my_images"]["32"]["val"] == "2" * 64
    assert Board(board).datasets["digits"]
    assert list(Board(board).problems()) == []


# What is wrong is found. Each function changes record and lines of results; hashes are made to fit where a careful
# cheater would.


def changed(change: Callable[[Record, list[dict[str, str]]], None], fit: bool = True) -> tuple[Record, bytes]:
    record_, table = copy.deepcopy(made())
    lines = list(csv.DictReader(io.StringIO(table.decode())))
    change(record_, lines)
    frame = pd.DataFrame(lines)
    table = frame.to_csv(index=False, lineterminator="\n").encode()
    if fit:
        record_["rows_sha256"] = record.hashlib.sha256(table).hexdigest()
        record_["run_id"] = record.run_id(record_)
    return record_, table


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


def extra_field(r: Record, lines: Any) -> None:
    r["stars"] = 5


def missing_field(r: Record, lines: Any) -> None:
    del r["commit"]


def wrong_type(r: Record, lines: Any) -> None:
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
        (nan, "top1 is 'nan', which is no accuracy"),
        (above_one, "top1 is '1.5', which is no accuracy"),
        (crossed, "top1 is above top5"),
        (one_network_better, "top1 of test is"),
        (other_network, "test/0 has"),
        (other_name, "networks of test have other names"),
        (other_order, "lines in another order"),
        (unknown_split, "there are no networks 'easy'"),
        (more_than_there_are, "it has 101 networks of bnfree, of which there are 100"),
        (other_version, "it is of version 99 of no_finetune; accepted: 1"),
        (unknown_protocol, "there is no protocol 'magic'"),
        (other_settings, "its settings are none of no_finetune"),
        (other_data, "its data have other sha256 than digits"),
        (random_weights, "it is marked as dev"),
        (extra_field, "'stars' was unexpected"),
        (missing_field, "'commit' is a required property"),
        (wrong_type, "seed: '0' is not of type 'integer'"),
        (no_day, "date: 2026-02-30 is none"),
        (not_yet, "date: 2999-01-01 is still to come"),
        (odd_batch, "batch_size is 48; accepted: 64, 32, 16, 8"),
        (layer_of_nothing, "randinit has no layers that are made orthogonal"),
        (formula_in_a_name, "does not match '^[A-Za-z0-9"),
        (text_in_settings, "is not valid under any of the given schemas"),
    ],
)
def test_wrong_records_are_found(change: Any, message: str, board: Path, tmp_path: Path) -> None:
    record_, table = changed(change)
    record.write(tmp_path / "wrong", record_, table)
    with pytest.raises(RecordError) as refused:
        Submit(tmp_path / "wrong", board).run()
    already = record_["run_id"] == made()[0]["run_id"]
    assert already or message in str(refused.value)
    record.write(board / "runs", record_, table)
    assert any(message in problem for problem in Board(board).problems())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("lr", 0.2, "lr is 0.2, but its settings have 0.4, 0.1, 0.04, 0.01, 0.001"),
        ("val_top1", 1.5, "val_top1 is '1.5', which is no accuracy"),
        ("params", "", "params is '', which is no number"),
    ],
)
def test_other_columns_are_checked_too(column: str, value: object, message: str) -> None:
    plan = Plan("finetune", finetune.Settings(), "randinit", "digits", ("test",), num=1)
    rows = [{**rows_of(plan)[0], column: value}]
    found = checks.problems(*record.make(plan, context(plan), rows, ["run"]), {})
    assert found == [f"line 2 of its table: {message}"]


def test_changes_without_new_hashes_are_found(board: Path) -> None:
    for change, message in ((one_network_better, "another sha256 than rows_sha256"), (other_data, "its run_id is")):
        record.write(board / "runs", *changed(change, fit=False))
        assert any(message in problem for problem in Board(board).problems())


@pytest.mark.parametrize("change", [{"epochs": "1"}, {"lrs": [0.4, "x"]}, {"lrs": 0.4}, {"epochs": True}])
def test_settings_are_of_their_kind(change: dict[str, Any]) -> None:
    plan = Plan("finetune", finetune.Settings(), "randinit", "digits", ("test",), num=1)
    record_, table = record.make(plan, context(plan), rows_of(plan), ["run"])
    record_["protocol"]["settings"] |= change
    record_["run_id"] = record.run_id(record_)
    (found,) = checks.problems(record_, table, {})
    assert "its settings are none of finetune" in found or "protocol.settings" in found


def test_duplicates_are_found(board: Path) -> None:
    record_, _ = made()
    for suffix in (".json", ".csv.gz"):
        shutil.copy(board / "runs" / f"{record_['run_id']}{suffix}", board / "runs" / f"mine{suffix}")
    assert any("is a duplicate of" in problem for problem in Board(board).problems())
    for path in (board / "runs").glob("mine*"):
        path.unlink()
    other = replace(PLAN, seed=1)  # the same results, said to be of another seed
    again = record.make(other, context(other), rows_of(PLAN), ["run"])
    record.write(board / "runs", *again)
    assert any("the same results of the same model" in problem for problem in Board(board).problems())


def test_same_name_other_weights(board: Path) -> None:
    for seed, sha256 in ((1, "a" * 64), (2, "b" * 64)):
        other = replace(PLAN, seed=seed)
        again, table = record.make(other, context(other), rows_of(other, seed), ["run"])
        again["model"] |= {"name": "mine", "weights_sha256": sha256}
        again["run_id"] = record.run_id(again)
        record.write(board / "runs", again, table)
    assert any("which are called mine too" in problem for problem in Board(board).problems())


def test_weights_need_a_hash() -> None:
    record_, table = made()
    for name, sha256, message in (("mine", None, "needs a weights_sha256"), ("randinit", "a" * 64, "has no weights")):
        record_["model"] |= {"name": name, "weights_sha256": sha256}
        record_["run_id"] = record.run_id(record_)
        assert any(message in problem for problem in checks.problems(record_, table, {}))


def test_nobody_verifies_their_own_records(board: Path, tmp_path: Path) -> None:
    record_, table = made()
    record_["status"] = "verified"
    assert any("status" in problem for problem in checks.problems(record_, table, {}))
    (board / "verified.json").write_text(json.dumps({record_["run_id"]: "0" * 64}))
    assert any("verified.json has" in problem for problem in Board(board).problems())


@pytest.mark.parametrize("place", [("networks", "test"), ("repeats",), ("seed",), ("dataset", "image_size")])
def test_integers_are_integers(place: tuple[str, ...]) -> None:
    record_, table = made()
    inner = record_
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = float(inner[place[-1]])
    assert any("is not of type 'integer'" in p or "is not one of" in p for p in checks.problems(record_, table, {}))


@pytest.mark.parametrize("field", sorted(made()[0]))
def test_every_field_is_needed(field: str, board: Path, tmp_path: Path) -> None:
    record_, table = made()
    path = record.write(tmp_path / "bad", record_, table)
    del record_[field]
    path.write_text(json.dumps(record_))
    with pytest.raises(RecordError, match=f"'{field}' is a required property|is on the leaderboard already"):
        Submit(tmp_path / "bad", board).run()
    assert any(f"'{field}' is a required property" in problem for problem in checks.problems(record_, table, {}))


def test_numbers_that_readers_understand_differently_are_refused() -> None:
    for text in ("0.0_1", " 0.5", "1e400", "\u0660.5", "inf"):
        record_, table = changed(lambda r, lines, text=text: lines[0].update(top1=text))
        assert any("which is no accuracy" in problem for problem in checks.problems(record_, table, {}))


def test_edited_tables_and_stray_files_are_found(board: Path) -> None:
    for name in ("no_finetune.csv", "README.md", "index.html"):
        path = board / name
        content = path.read_text()
        path.write_text(content.replace("randinit", "RANDINIT", 1))
        assert [problem for problem in Board(board).problems() if f"{name} is not what the records give" in problem]
        path.write_text(content)
    (board / "runs" / "notes.txt").write_text("hello")
    assert any("notes.txt belongs to no record" in problem for problem in Board(board).problems())


def test_damaged_files_are_found(board: Path) -> None:
    (path,) = (board / "runs").glob("*.json")
    content = path.read_text()
    for damaged in (content[:100], "[]", content.replace('"seed": 0', '"seed": NaN')):
        path.write_text(damaged)
        assert any("cannot be read" in problem or "is no record" in problem for problem in Board(board).problems())
    path.write_text(content)
    (table,) = (board / "runs").glob("*.csv.gz")
    table.write_bytes(table.read_bytes()[:50])
    assert any("cannot be read" in problem for problem in Board(board).problems())
    whole = gzip.compress(b"a,b")
    for damaged_table in (gzip.compress(b"\xff\xfe\x00"), whole[:10] + b"\xff" + whole[11:]):
        table.write_bytes(damaged_table)
        assert list(Board(board).problems())
    path.write_text("{}")
    table.write_bytes(whole)
    with pytest.raises(RecordError, match="a record of the leaderboards is wrong"):
        Render(board).run()
    for damaged in ('{"digits": 3}', "{", "[]"):
        (board / "datasets.json").write_text(damaged)
        with pytest.raises(RecordError, match=r"datasets\.json"):
            Board(board)


def test_verify_measures_again(board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = replace(PLAN, num=1)
    rows = compute(plan, RunFolder(tmp_path / "real", record.identity(plan, context(plan))), None, 1)
    honest = record.make(plan, context(plan), rows, ["run"])
    path = record.write(board / "runs", *honest)
    assert Verify(path.stem, board, mark=True).run() == 0
    assert "2 of 2 networks agree" in capsys.readouterr().out
    assert "verified" in (board / "no_finetune.csv").read_text()
    assert list(Board(board).problems()) == []
    moved = [row | {"top1": row["top1"] - 0.05, "top5": row["top5"]} for row in rows]
    record.write(board / "runs", *record.make(plan, context(plan), moved, ["run"]))
    assert Verify(path.stem, board, num=1, mark=True).run() == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert any("verified.json has" in problem for problem in Board(board).problems())
    with pytest.raises(RecordError, match="cannot be read"):
        Verify("nothing", board).run()


def verified(board: Path, folder: Path, plan: Plan, changes: dict[str, Any], **options: Any) -> int:
    """What verify says of a record in which the results of the first network were changed."""
    context.cache_clear()
    rows = compute(plan, RunFolder(folder, record.identity(plan, context(plan))), None, 1)
    made_up = [{**rows[0], **changes}, *rows[1:]]
    path = record.write(board / "runs", *record.make(plan, context(plan), made_up, ["run"]))
    context.cache_clear()
    return Verify(path.stem, board, **options).run()


def test_small_scores_are_compared_with_themselves(board: Path, tmp_path: Path) -> None:
    plan = Plan("nas", PROTOCOLS["nas"].settings(), "fisher", "digits", ("torchvision74",), num=2)
    assert verified(board, tmp_path / "run", plan, {}, num=2) == 0
    assert verified(
        board, tmp_path / "run", plan, {"status": "ok", "reason": "", "score": 1e-4, "truth": 56.522}, num=2
    )


def test_files_of_others_have_to_be_given(board: Path, tmp_path: Path) -> None:
    for name in ("score", "truth"):
        (tmp_path / f"{name}.csv").write_text(f"group,index,{name}\ntest,0,0.5\ntest,1,0.75\ntest,2,0.25\n")
    scores, truth = tmp_path / "score.csv", tmp_path / "truth.csv"
    plan = Plan("nas", PROTOCOLS["nas"].settings(truth=str(truth)), str(scores), "digits", ("test",), num=3)
    with pytest.raises(RecordError, match=r"its truth is the file truth\.csv; give it as --truth"):
        verified(board, tmp_path / "run", plan, {}, weights=scores)
    with pytest.raises(RecordError, match="give it as --weights"):
        verified(board, tmp_path / "run", plan, {}, truth=truth)
    other = tmp_path / "other.csv"
    other.write_text("group,index,truth\ntest,0,0.25\n")
    with pytest.raises(RecordError, match=r"other\.csv is not the truth of nas-digits-file-score"):
        verified(board, tmp_path / "run", plan, {}, truth=other, weights=scores)
    assert verified(board, tmp_path / "run", plan, {}, truth=truth, weights=scores) == 0
    with pytest.raises(RecordError, match="has no file of truth, so --truth is of no use"):
        verified(board, tmp_path / "other", replace(PLAN, num=1), {}, truth=truth)


def test_commands(board: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (
        (["check", "--root", str(board)], 0),
        (["render", "--root", str(board)], 0),
        (["check", "--root", "nowhere"], 2),
        (["submit", "nowhere", "--root", str(board)], 2),
        (["verify", "nothing", "--root", str(board)], 2),
        (["verify", "nothing", "--root", str(board), "--seed", "-1"], 2),
        (["verify", "nothing", "--root", str(board), "--device", "tpu"], 2),
    ):
        monkeypatch.setattr(sys, "argv", ["leaderboard", *arguments])
        assert leaderboard.main() == code
        assert (code == 2) == capsys.readouterr().err.startswith("error: ")


# Tables


def test_tables_say_what_records_say() -> None:
    plan = replace(PLAN, groups=EVALUATION_SPLITS, num=5)
    record_, table = made(plan)
    top1, top5 = lines_of(record_)
    rows = pd.read_csv(io.BytesIO(table))
    scores = rows["top1"].fillna(0.0)
    assert top1.values["all"][0] == pytest.approx(100 * scores.mean())
    assert top1.values["all"][1] == pytest.approx(100 * scores.std(ddof=0) / 25**0.5)
    for group in EVALUATION_SPLITS:
        part = scores[rows["group"] == group]
        assert top1.values[group] == (pytest.approx(100 * part.mean()), pytest.approx(100 * part.std(ddof=0) / 5**0.5))
    assert (top1.failed, top1.networks, top5.metric) == (1, 25, "top5")
    read = pd.read_csv(io.StringIO(to_csv("no_finetune", [top1, top5])))
    assert read.loc[0, "wide"] == pytest.approx(top1.values["wide"][0], abs=0.005)
    assert to_markdown("no_finetune", [top1]).count(f"{top1.values['deep'][0]:.1f} ±") == 1
    assert f"{100 * record_['results']['dense']['top1']['max']:.1f}" in summary(record_)


def test_all_are_the_evaluation_splits() -> None:
    plan = replace(PLAN, groups=(*EVALUATION_SPLITS, "val"), num=2)
    with_others, without = (made(p)[0]["results"] for p in (plan, replace(plan, groups=EVALUATION_SPLITS)))
    assert with_others["all"] == without["all"]
    assert "all" not in made(replace(plan, groups=("test", "val")))[0]["results"]


def test_the_best_networks_have_a_column_of_their_own() -> None:
    plan = replace(PLAN, groups=EVALUATION_SPLITS, num=5)
    record_, table = made(plan)
    scores = pd.read_csv(io.BytesIO(table))["top1"].fillna(0.0)
    best = np.sort(scores.to_numpy())[-10:]
    line = lines_of(record_)[0]
    assert line.values["top10"] == (pytest.approx(100 * best.mean()), pytest.approx(100 * best.std() / 10**0.5))


def test_settings_that_are_not_usual_are_told() -> None:
    def setting(**changes: Any) -> str:
        plan = Plan("finetune", finetune.Settings(**changes), "randinit", "digits", ("test",), num=1)
        return lines_of(record.make(plan, context(plan), rows_of(plan), ["run"])[0])[0].setting

    assert setting() == "1 epoch"
    assert setting(epochs=10.0, lrs=(0.1, 0.2)) == "10 epochs, lrs 0.1 0.2"
    assert setting(beta=0.0) == "1 epoch, beta 0.0"


def test_repetitions_are_averaged() -> None:
    plan = Plan("finetune", finetune.Settings(), "randinit", "digits", ("test",), num=1, repeats=3)
    rows = rows_of(plan)
    result = record.make(plan, context(plan), rows, ["run"])[0]["results"]["test"]["top1"]
    values = np.array([row["top1"] for row in rows])
    assert result["mean"] == pytest.approx(values.mean())
    assert result["sem"] == pytest.approx(values.std() / 3**0.5)
    plan = replace(plan, num=2)
    rows = rows_of(plan)
    result = record.make(plan, context(plan), rows, ["run"])[0]["results"]["test"]["top1"]
    means = np.array([row["top1"] for row in rows]).reshape(2, 3).mean(1)
    assert (result["mean"], result["max"]) == (pytest.approx(means.mean()), pytest.approx(means.max()))
    assert result["std"] == pytest.approx(means.std())


def test_rendering_repeats_itself(board: Path) -> None:
    before = {path.name: path.read_bytes() for path in board.iterdir() if path.is_file()}
    assert Render(board).run() == 0
    assert {path.name: path.read_bytes() for path in board.iterdir() if path.is_file()} == before


# Published rows


def test_published_rows() -> None:
    printed = {round(value, 6) for value in paper_tables()["value"].dropna()}
    for name, kind in PROTOCOLS.items():
        rows = published_rows(name)
        assert rows
        if not kind.accuracies:  # computed, not printed
            continue
        keys = [(row.model, row.dataset, row.setting, row.metric, row.source) for row in rows]
        assert len(set(keys)) == len(keys)
        values = [value for row in rows for value, _ in row.values.values()]
        assert all({round(value, 6), round(value / 100, 6)} & printed for value in values)  # precision as a fraction
        assert all(error is None or 0 <= error < 5 for row in rows for _, error in row.values.values())


def test_published_rows_are_those_of_the_papers() -> None:
    """Read off the papers by eye."""
    rows = {(row.model, row.source): row for name in PROTOCOLS for row in published_rows(name)}
    ghn2 = rows["GHN-2", "ppuda2021, Table 3"]
    assert ghn2.values["test"] == (66.9, 0.3)
    assert ghn2.values["bnfree"] == (36.8, 1.5)
    assert ghn2.values["vit"] == (11.4, None)
    assert rows["GHN-2", "ppuda2021, Table 4"].values["wide"] == (19.4, 1.4)
    xl = rows["GHN-3-XL/m16", "ghn3_2023, Table 11"]
    assert xl.values["test"] == (29.8, pytest.approx(11.2 / 500**0.5))
    assert rows["GHN-3-XL/m16", "ghn3_2023, Table 7"].values["convnext_base"] == (13.8, None)
    assert rows["GHN-orth", "ghnorth_2022, Table 1"].values["resnet50"] == (65.6, pytest.approx(0.2 / 5**0.5))
    assert rows["GHN-2/m8, trained as GHN-3", "ghn3_2023, Table 11"].values["all"][0] == 12.7
