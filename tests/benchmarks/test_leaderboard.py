"""Leaderboards: records are submitted, checked together and measured again."""

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import leaderboard
from benchmarks.execution.run_config import RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.execution.run_folder import RunFolder
from benchmarks.execution.scheduler import compute
from benchmarks.leaderboard import Check, Render, Submit, Verify
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import RecordError, make_record, run_id, run_identity
from benchmarks.records.record_files import write_record
from benchmarks.records.validation import find_problems
from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
from deepnets.utils import provenance
from tests.support.made_up_records import PLAN, edited, made_up_record, rows_of
from tests.support.paths import LEADERBOARDS


def problems(root: Path) -> list[str]:
    return list(LeaderboardFolder(root).problems())


def test_the_leaderboards_of_this_repository_are_right() -> None:
    assert problems(LEADERBOARDS) == []


def test_submitted_records_pass(board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Check(board).run() == 0
    assert "1 records, 0 problems" in capsys.readouterr().out
    with pytest.raises(RecordError, match="is on the leaderboard already"):
        Submit(tmp_path / "run", board).run()
    with pytest.raises(RecordError, match="has 0 records"):
        Submit(tmp_path, board).run()
    with pytest.raises(RecordError, match="is not a folder of leaderboards"):
        LeaderboardFolder(tmp_path)


def test_data_sets_are_remembered(board: Path, tmp_path: Path) -> None:
    record, table = made_up_record()
    record["dataset"] |= {"name": "my_images", "sha256": {"train": "1" * 64, "val": "2" * 64, "test": "3" * 64}}
    record["run_id"] = run_id(record)
    write_record(tmp_path / "mine", record, table)
    Submit(tmp_path / "mine", board).run()
    assert LeaderboardFolder(board).datasets["my_images"]["32"]["val"] == "2" * 64
    assert LeaderboardFolder(board).datasets["digits"]
    assert problems(board) == []


def test_duplicates_are_found(board: Path) -> None:
    record, _ = made_up_record()
    for suffix in (".json", ".csv.gz"):
        shutil.copy(board / "runs" / f"{record['run_id']}{suffix}", board / "runs" / f"mine{suffix}")
    assert any("is a duplicate of" in problem for problem in problems(board))
    for path in (board / "runs").glob("mine*"):
        path.unlink()
    other = replace(PLAN, seed=1)  # the same results, said to be of another seed
    again = make_record(other, load_run_context(other), rows_of(PLAN), ["run"])
    write_record(board / "runs", *again)
    assert any("the same results of the same model" in problem for problem in problems(board))


def test_same_name_other_weights(board: Path) -> None:
    for seed, sha256 in ((1, "a" * 64), (2, "b" * 64)):
        other = replace(PLAN, seed=seed)
        again, table = make_record(other, load_run_context(other), rows_of(other, seed), ["run"])
        again["model"] |= {"name": "mine", "weights_sha256": sha256}
        again["run_id"] = run_id(again)
        write_record(board / "runs", again, table)
    assert any("which are called mine too" in problem for problem in problems(board))


def test_nobody_verifies_their_own_records(board: Path) -> None:
    record, table = made_up_record()
    record["status"] = "verified"
    assert any("status" in problem for problem in find_problems(record, table, {}))
    entry = {"rows_sha256": "0" * 64, "by": "me", "date": "2026-11-29", "commit": "a" * 40, "seed": 1, "networks": 5}
    right = entry | {"rows_sha256": record["rows_sha256"]}
    for wrong, message in (
        (record["rows_sha256"], "must have rows_sha256, by, date, commit, seed, networks"),
        ({"rows_sha256": record["rows_sha256"]}, "must have rows_sha256, by, date, commit, seed, networks"),
        (entry, "but there is no such record"),
        (right | {"by": "<b>"}, "has no right by"),
        (right | {"commit": "a" * 40 + "+changes"}, "has no right commit"),
        (right | {"networks": 0}, "has no right sample"),
        (right | {"seed": "1"}, "has no right sample"),
    ):
        (board / "verified.json").write_text(json.dumps({record["run_id"]: wrong}))
        assert any("verified.json: it" in problem and message in problem for problem in problems(board)), message


def test_edited_tables_and_stray_files_are_found(board: Path) -> None:
    for name in ("no_finetune.csv", "README.md", "index.html"):
        path = board / name
        content = path.read_text()
        path.write_text(content.replace("randinit", "RANDINIT", 1))
        assert [problem for problem in problems(board) if f"{name} is not what the records give" in problem]
        path.write_text(content)
    (board / "runs" / "notes.txt").write_text("hello")
    assert any("notes.txt belongs to no record" in problem for problem in problems(board))


def test_damaged_files_are_found(board: Path) -> None:
    (path,) = (board / "runs").glob("*.json")
    content = path.read_text()
    for damaged in (content[:100], "[]", content.replace('"seed": 0', '"seed": NaN')):
        path.write_text(damaged)
        assert any("cannot be read" in problem or "is not a record" in problem for problem in problems(board))
    path.write_text(content)
    (table,) = (board / "runs").glob("*.csv.gz")
    table.write_bytes(table.read_bytes()[:50])
    assert any("cannot be read" in problem for problem in problems(board))
    whole = gzip.compress(b"a,b")
    for damaged_table in (gzip.compress(b"\xff\xfe\x00"), whole[:10] + b"\xff" + whole[11:]):
        table.write_bytes(damaged_table)
        assert problems(board)
    path.write_text("{}")
    table.write_bytes(whole)
    with pytest.raises(RecordError, match="a record of the leaderboards is wrong"):
        Render(board).run()
    for damaged in ('{"digits": 3}', "{", "[]"):
        (board / "datasets.json").write_text(damaged)
        with pytest.raises(RecordError, match=r"datasets\.json"):
            LeaderboardFolder(board)


def test_verify_measures_again(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, num=1)
    rows = compute(
        load_run_context(plan), RunFolder(tmp_path / "real", run_identity(plan, load_run_context(plan))), None, 1
    )
    honest = make_record(plan, load_run_context(plan), rows, ["run"])
    path = write_record(board / "runs", *honest)
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40 + "+changes")
    with pytest.raises(RecordError, match="by code without changes"):
        Verify(path.stem, board, mark=True, by="somebody").run()
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    with pytest.raises(RecordError, match="who verified it"):
        Verify(path.stem, board, mark=True).run()
    assert Verify(path.stem, board, mark=True, by="somebody", seed=3).run() == 0
    entry = LeaderboardFolder(board).verified[path.stem]
    assert (entry["by"], entry["commit"], entry["seed"], entry["networks"]) == ("somebody", "a" * 40, 3, 2)
    assert "2 of 2 networks agree" in capsys.readouterr().out
    assert "verified" in (board / "no_finetune.csv").read_text()
    assert problems(board) == []
    moved = [edited(row, top1=(round(300 * float(row.values["top1"])) - 15) / 300) for row in rows]
    write_record(board / "runs", *make_record(plan, load_run_context(plan), moved, ["run"]))
    assert Verify(path.stem, board, num=1, mark=True, by="somebody").run() == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert any("verified.json: it has" in problem for problem in problems(board))
    with pytest.raises(RecordError, match="cannot be read"):
        Verify("nothing", board).run()


def verified(board: Path, folder: Path, plan: RunConfig, changes: dict[str, Any], **options: Any) -> int:
    """What verify says of a record in which the results of the first network were changed."""
    rows = compute(load_run_context(plan), RunFolder(folder, run_identity(plan, load_run_context(plan))), None, 1)
    made_up = [edited(rows[0], **changes), *rows[1:]]
    path = write_record(board / "runs", *make_record(plan, load_run_context(plan), made_up, ["run"]))
    return Verify(path.stem, board, **options).run()


def test_small_scores_are_compared_with_themselves(board: Path, tmp_path: Path) -> None:
    truth, scores = tmp_path / "truth.csv", tmp_path / "score.csv"
    truth.write_text("group,index,truth\ntest,0,0.5\ntest,1,0.75\ntest,2,0.25\n")
    scores.write_text("group,index,score\ntest,0,1e-4\ntest,1,3e-4\ntest,2,5e-4\n")
    plan = RunConfig("nas", PROTOCOLS["nas"].settings_class(truth=str(truth)), str(scores), "digits", ("test",), num=3)
    assert verified(board, tmp_path / "made_up", plan, {}, truth=truth, weights=scores) == 0
    assert verified(board, tmp_path / "made_up", plan, {"score": 2e-4}, truth=truth, weights=scores)


def test_files_of_others_have_to_be_given(board: Path, tmp_path: Path) -> None:
    for name in ("score", "truth"):
        (tmp_path / f"{name}.csv").write_text(f"group,index,{name}\ntest,0,0.5\ntest,1,0.75\ntest,2,0.25\n")
    scores, truth = tmp_path / "score.csv", tmp_path / "truth.csv"
    plan = RunConfig("nas", PROTOCOLS["nas"].settings_class(truth=str(truth)), str(scores), "digits", ("test",), num=3)
    with pytest.raises(RecordError, match=r"its truth is the file truth\.csv; give it as --truth"):
        verified(board, tmp_path / "made_up", plan, {}, weights=scores)
    with pytest.raises(RecordError, match="give it as --weights"):
        verified(board, tmp_path / "made_up", plan, {}, truth=truth)
    other = tmp_path / "other.csv"
    other.write_text("group,index,truth\ntest,0,0.25\n")
    with pytest.raises(RecordError, match=r"other\.csv is not the truth of nas-digits-file-score"):
        verified(board, tmp_path / "made_up", plan, {}, truth=other, weights=scores)
    assert verified(board, tmp_path / "made_up", plan, {}, truth=truth, weights=scores) == 0
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
        (["verify", made_up_record()[0]["run_id"], "--root", str(board), "--num", "5", "--risk", "0.1"], 2),
        (["verify", made_up_record()[0]["run_id"], "--root", str(board), "--risk", "1"], 2),
        (["verify", made_up_record()[0]["run_id"], "--root", str(board), "--risk", "0.1", "--share", "0"], 2),
    ):
        monkeypatch.setattr(sys, "argv", ["leaderboard", *arguments])
        assert leaderboard.main() == code
        assert (code == 2) == capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"]])
def test_help_needs_no_heavy_imports(arguments: list[str]) -> None:
    script = f"""
import sys
from benchmarks import leaderboard
sys.argv = ["leaderboard", *{arguments}]
leaderboard.main()
print({{"torch", "numpy", "pandas", "scipy", "sklearn", "jsonschema", "matplotlib"}} & sys.modules.keys())
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "usage: " in output
    assert output.splitlines()[-1] == "set()"


def test_rendering_repeats_itself(board: Path) -> None:
    before = {path.name: path.read_bytes() for path in board.iterdir() if path.is_file()}
    assert Render(board).run() == 0
    assert {path.name: path.read_bytes() for path in board.iterdir() if path.is_file()} == before
