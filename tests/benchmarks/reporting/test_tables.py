"""Tables are what the records say, papers' numbers are theirs."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.protocols import finetune
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.published_results.paper_tables import paper_tables, published_rows
from benchmarks.records.record import make_record
from benchmarks.records.record_files import read_record
from benchmarks.reporting.rows import record_rows
from benchmarks.reporting.run_summary import summarize_run
from benchmarks.reporting.tables import to_csv, to_markdown
from tests.support.made_up_records import PLAN, made_up_record, rows_of
from tests.support.paths import LEADERBOARDS


def test_tables_say_what_records_say() -> None:
    plan = replace(PLAN, groups=EVALUATION_SPLITS, num=5)
    record, table = made_up_record(plan)
    top1, top5 = record_rows(record)
    rows = pd.read_csv(io.BytesIO(table))
    scores = rows["top1"].fillna(0.0)
    together = record["results"]["all"]["top1"]
    assert together["mean"] == pytest.approx(scores.mean())
    assert together["sem"] == pytest.approx(scores.std(ddof=0) / 25**0.5)
    for group in EVALUATION_SPLITS:
        part = scores[rows["group"] == group]
        assert top1.values[group] == pytest.approx((100 * part.mean(), 100 * part.std(ddof=0) / 5**0.5))
    assert (top1.failed, top1.networks, top5.metric) == (1, 25, "top5")
    read = pd.read_csv(io.StringIO(to_csv("no_finetune", [top1, top5])))
    assert read.loc[0, "wide"] == pytest.approx(top1.values["wide"][0], abs=0.005)
    assert to_markdown("no_finetune", [top1]).count(f"{top1.values['deep'][0]:.1f} ±") == 1
    assert f"{100 * record['results']['dense']['top1']['max']:.1f}" in summarize_run(record)
    assert "best 10" in summarize_run(record)  # of 25 networks


def test_summaries_say_how_networks_were_trained_and_nothing_of_ten_if_there_are_fewer() -> None:
    plan = RunConfig("finetune", finetune.FinetuneConfig(epochs=0.5), "he", "digits", ("test",), num=4)
    rows = [
        Row(job, "", 1, 128, 1.0, "ok", "", {"lr": 0.1, "val_top1": 0.1, "top1": 0.2, "top5": 0.6})
        for job in plan.jobs()
    ]
    text = summarize_run(make_record(plan, load_run_context(plan), rows, ["run"])[0])
    assert text.startswith("he on digits, 0.5 epoch: accuracy after a short training")
    assert "best 10" not in text


def test_all_are_the_evaluation_splits() -> None:
    plan = replace(PLAN, groups=(*EVALUATION_SPLITS, "val"), num=2)
    with_others, without = (made_up_record(p)[0]["results"] for p in (plan, replace(plan, groups=EVALUATION_SPLITS)))
    assert with_others["all"] == without["all"]
    assert "all" not in made_up_record(replace(plan, groups=("test", "val")))[0]["results"]


def test_the_best_networks_have_a_column_of_their_own() -> None:
    record, table = read_record(next((LEADERBOARDS / "runs").glob("no_finetune-digits-mlp.digits-*.json")))
    scores = pd.read_csv(io.BytesIO(table))["top1"].fillna(0.0)
    assert len(scores) == 900
    best = np.sort(scores.to_numpy())[-10:]
    line = record_rows(record)[0]
    assert line.values["all"][0] == pytest.approx(100 * scores.mean())
    assert line.values["top10"] == pytest.approx((100 * best.mean(), 100 * best.std() / 10**0.5))


def test_some_networks_are_not_compared_with_all() -> None:
    """Every split weighs the same in a run of the first five of each, and ten of 25 are not the ten best of 900."""
    record, _ = made_up_record(replace(PLAN, groups=EVALUATION_SPLITS, num=5))
    assert record_rows(record)[0].values.keys() == set(EVALUATION_SPLITS)


def test_a_network_that_fails_twice_is_one_that_failed() -> None:
    plan = replace(PLAN, repeats=3)
    rows = rows_of(plan)
    result, _ = make_record(plan, load_run_context(plan), rows, ["run"])
    assert [row.status for row in rows].count("failed") == 3
    assert (result["results"]["test"]["failed"], record_rows(result)[0].failed) == (1, 1)


def test_settings_that_are_not_usual_are_told() -> None:
    def setting(**changes: Any) -> str:
        plan = RunConfig("finetune", finetune.FinetuneConfig(**changes), "randinit", "digits", ("test",), num=1)
        return record_rows(make_record(plan, load_run_context(plan), rows_of(plan), ["run"])[0])[0].setting

    assert setting() == "1 epoch"
    assert setting(epochs=10.0, lrs=(0.1, 0.2)) == "10 epochs, lrs 0.1 0.2"
    assert setting(beta=0.0) == "1 epoch, beta 0.0"


def test_repetitions_are_averaged() -> None:
    plan = RunConfig("finetune", finetune.FinetuneConfig(), "randinit", "digits", ("test",), num=1, repeats=3)
    rows = rows_of(plan)
    result = make_record(plan, load_run_context(plan), rows, ["run"])[0]["results"]["test"]["top1"]
    values = np.array([row.values["top1"] for row in rows])
    assert result["mean"] == pytest.approx(values.mean())
    assert result["sem"] == pytest.approx(values.std() / 3**0.5)
    plan = replace(plan, num=2)
    rows = rows_of(plan)
    result = make_record(plan, load_run_context(plan), rows, ["run"])[0]["results"]["test"]["top1"]
    means = np.array([row.values["top1"] for row in rows]).reshape(2, 3).mean(1)
    assert (result["mean"], result["max"]) == (pytest.approx(means.mean()), pytest.approx(means.max()))
    assert result["std"] == pytest.approx(means.std())


def test_published_rows() -> None:
    printed = {round(value, 6) for value in paper_tables()["value"].dropna()}
    for name, kind in PROTOCOLS.items():
        rows = published_rows(name)
        assert rows
        if not kind.accuracy_columns:  # computed, not printed
            continue
        keys = [(row.model, row.dataset, row.setting, row.metric, row.source) for row in rows]
        assert len(set(keys)) == len(keys)
        values = [value for row in rows for value, _ in row.values.values()]
        assert None not in values
        numbers = [value for value in values if value is not None]
        assert all({round(value, 6), round(value / 100, 6)} & printed for value in numbers)  # precision as a fraction
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
    assert xl.values["test"][0] == 29.8
    assert xl.values["test"][1:] == pytest.approx((11.2 / 500**0.5,))
    few = {row.dataset: row for row in published_rows("transfer") if row.source == "ghn3_2023, Table 7"}
    assert {name: row.setting for name, row in few.items()} == {
        "cifar10": "100 labels per class",
        "cifar100": "10 labels per class",  # section 5.3: 1000 training samples in each task
    }
    assert rows["GHN-3-XL/m16", "ghn3_2023, Table 7"].values["convnext_base"] == (13.8, None)
    orth = rows["GHN-orth", "ghnorth_2022, Table 1"]
    assert orth.values["resnet50"][0] == 65.6
    assert orth.values["resnet50"][1:] == pytest.approx((0.2 / 5**0.5,))
    assert rows["GHN-2/m8, trained as GHN-3", "ghn3_2023, Table 11"].values["all"][0] == 12.7
