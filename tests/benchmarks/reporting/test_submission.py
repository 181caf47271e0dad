"""A pull request that submits records submits nothing else, and its records are measured again."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.leaderboard import Check, Render, VerifyNew
from benchmarks.records.record import RecordError
from benchmarks.records.record_files import write_record
from benchmarks.reporting.submission import change_problems, missing_input, new_records
from tests.support.made_up_records import made_up_record


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(board: Path) -> Path:
    """A repository with a commit `start`, from which pull requests start."""
    folder = board.parent
    (folder / "code.py").write_text("1\n")
    git(folder, "init")
    git(folder, "add", "leaderboards", "code.py")
    git(folder, "commit", "-m", "start")
    git(folder, "tag", "start")
    return folder


def add_record(board: Path) -> str:
    record, table = made_up_record(seed=1)
    record["run_id"] = "new"
    write_record(board / "runs", record, table)
    return record["run_id"]


def problems(repository: Path) -> list[str]:
    git(repository, "add", "--all", "leaderboards", "code.py")
    git(repository, "commit", "-m", "change")
    return list(change_problems(repository / "leaderboards", "start"))


def test_records_alone_are_welcome(repository: Path, board: Path) -> None:
    assert list(change_problems(board, "start")) == []
    assert add_record(board) == "new"
    assert problems(repository) == []
    assert new_records(board, "start") == ["new"]


def test_code_changes_alone_are_no_submission(repository: Path) -> None:
    (repository / "code.py").write_text("2\n")
    assert problems(repository) == []


def test_nothing_changes_together_with_records(repository: Path, board: Path) -> None:
    add_record(board)
    (repository / "code.py").write_text("2\n")
    for name in ("verified.json", "weights.json"):
        (board / name).write_text("{}")
    datasets = json.loads((board / "datasets.json").read_text())
    datasets["digits"]["32"]["test"] = "0" * 64
    (board / "datasets.json").write_text(json.dumps(datasets))
    assert sorted(problems(repository)) == [
        "code.py is not in leaderboards/; a change that submits records changes nothing else",
        "datasets.json has other images of digits than before",
        "leaderboards/verified.json is for maintainers; it does not change together with records",
        "leaderboards/weights.json is for maintainers; it does not change together with records",
    ]


def test_records_of_others_stay(repository: Path, board: Path) -> None:
    name = made_up_record()[0]["run_id"]
    (board / "runs" / f"{name}.json").unlink()
    (board / "runs" / f"{name}.csv.gz").write_bytes(b"")
    assert problems(repository) == [
        f"leaderboards/runs/{name}.csv.gz was there before; records are added, not changed or deleted",
        f"leaderboards/runs/{name}.json was there before; records are added, not changed or deleted",
    ]


def test_what_is_at_hand() -> None:
    record, _ = made_up_record()
    assert missing_input(record, None) == ""
    for name, missing in (("ghn3_t.digits_orth", ""), ("synflow", ""), ("mine", "the weights mine")):
        record["model"]["name"] = name
        assert missing_input(record, None) == missing
    record["model"]["name"] = "randinit"
    record["protocol"]["settings"]["truth"] = "mine.csv 0123456789abcdef"
    assert missing_input(record, None) == "the truth mine.csv 0123456789abcdef"
    record["networks_from"] = {"source": "mine.hdf5"}  # type: ignore[typeddict-item]
    assert missing_input(record, None) == "the networks of mine.hdf5"
    record["dataset"]["name"] = "cifar10"
    assert missing_input(record, None) == "the images of cifar10"


def test_made_up_records_do_not_pass_the_workflow(
    repository: Path, board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record of the board has made-up accuracies, of which the checks know nothing."""
    git(repository, "rm", "--cached", "-r", "leaderboards/runs")
    git(repository, "commit", "-m", "before")
    git(repository, "tag", "before")
    git(repository, "add", "leaderboards")
    git(repository, "commit", "-m", "change")
    assert Render(board).run() == 0
    assert Check(board, "before").run() == 0
    assert VerifyNew("before", board, num=2).run() == 1
    assert "DIFFERS" in capsys.readouterr().out
    with pytest.raises(RecordError, match="git diff fails in"):
        Check(board, "nothing").run()
