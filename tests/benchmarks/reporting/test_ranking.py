"""Only complete rows are ranked; what submitters write stays text in CSV, Markdown and HTML."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, networks_in
from benchmarks.records.record import Record
from benchmarks.records.record_files import read_record
from benchmarks.reporting.html_page import render_page
from benchmarks.reporting.rows import LeaderboardRow, count_networks, leaderboard_rows, record_rows
from benchmarks.reporting.tables import to_csv, to_markdown
from tests.support.made_up_records import PLAN, made_up_record
from tests.support.paths import LEADERBOARDS

HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "two\nlines",
    '=HYPERLINK("http://example.org")',
    "+1",
    "@sum",
    "[text](javascript:alert(1))",
    "`code`",
)


def of_board(model: str, protocol: str = "no_finetune") -> Record:
    return read_record(next((LEADERBOARDS / "runs").glob(f"{protocol}-digits-{model}-*.json")))[0]


def better(**changes: Any) -> Record:
    """A record with the best possible accuracies."""
    record: Any = {**of_board("ghn3_t.digits"), "run_id": "better", **changes}
    for result in record["results"].values():
        result["top1"] = result["top1"] | {"mean": 1.0}
    better_one: Record = record
    return better_one


@pytest.mark.parametrize(
    "networks",
    [
        {"test": 2},
        {"test": 499, "wide": 100, "deep": 100, "dense": 100, "bnfree": 100},
        {"test": 500, "wide": 100, "deep": 100, "dense": 100},  # without the hard split
        {"test": 500},
    ],
)
def test_partial_rows_come_after_complete_ones(networks: dict[str, int]) -> None:
    partial = better(networks=networks)
    rows = [row for row in leaderboard_rows("no_finetune", [partial, of_board("mlp.digits")]) if row.metric == "top1"]
    measured = [row for row in rows if row.dataset == "digits"]
    assert [(row.source, row.complete) for row in measured][-1] == ("better", False)
    assert f"| {sum(networks.values())} of 900 |" in to_markdown("no_finetune", rows)
    assert better()["networks"].keys() == set(EVALUATION_SPLITS)
    assert all(row.complete for row in record_rows(better()))


def test_groups_beside_the_usual_ones_are_complete_alone() -> None:
    assert count_networks(better(networks={"torchvision74": 74}), "top1") == (74, 74)
    assert count_networks(better(networks={"val": 3}), "top1") == (3, len(networks_in("val")))


def test_correlations_over_the_networks_with_a_score() -> None:
    """72 of 74 networks are enough, 50 are not."""
    rows = {name: record_rows(of_board(name, "nas"))[0] for name in ("gradnorm", "grasp", "nwot")}
    assert {name: (row.measured, row.needed, row.complete) for name, row in rows.items()} == {
        "gradnorm": (72, 74, True),
        "grasp": (70, 74, False),
        "nwot": (50, 74, False),
    }


@pytest.mark.parametrize(
    ("commit", "status"),
    [("a" * 40, "self_reported"), ("a" * 40 + "+changes", "unverified_code"), (None, "unverified_code")],
)
def test_code_that_nobody_else_has_is_shown(commit: str | None, status: str) -> None:
    assert record_rows(better(commit=commit))[0].status == status
    assert record_rows(better(commit=commit, status="verified"))[0].status == "verified"


def test_other_seeds_are_another_setting() -> None:
    assert [record_rows(better(seed=seed))[0].setting for seed in (0, 7)] == ["", "seed 7"]


def row_of(text: str) -> LeaderboardRow:
    return LeaderboardRow(text, text, text, text, {"test": (50.0, 1.0)}, 3, 0, 3, 900, False, text, text, text)


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_has_no_formulas(text: str) -> None:
    head, *lines = csv.reader(io.StringIO(to_csv("no_finetune", [row_of(text)])))
    ((line),) = lines
    assert len(line) == len(head)
    assert line[0] == (f"'{text}" if text[0] in "=+-@" else text)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in line)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_has_no_html_cells_or_links_of_submitters(text: str) -> None:
    shown = to_markdown("no_finetune", [row_of(text)])
    title, _, head, rule, line, *rest = shown.split("\n")
    assert title.startswith("### ")
    assert not any(rest)
    assert "<" not in shown
    cells = [part.replace("\\|", "").count("|") for part in (head, rule, line)]
    assert cells == [7, 7, 7]
    assert "`" not in shown.replace("\\`", "")
    assert "[" not in shown.replace("\\[", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_the_data_of_the_page_end_where_they_should(text: str) -> None:
    record, table = made_up_record(replace(PLAN, num=3))
    record["command"], record["environment"]["torch"], record["model"]["name"] = text, text, text
    page = render_page({"no_finetune": leaderboard_rows("no_finetune", [record])}, [(record, table)])
    assert page.count("</script>") == render_page({}, []).count("</script>") == 2
    content = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert content["runs"][record["run_id"]]["about"]["command"] == text
