"""Networks of a run: read from files, as the published ones, single ones by index, and the ten best of another run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from benchmarks.core.cli_options import RunOptions
from benchmarks.core.evaluation_networks import check_group, network_at, networks_in
from benchmarks.core.protocol import Case
from benchmarks.evaluation import evaluate_run, load_run_context, run_config
from benchmarks.execution.selection import select_best
from benchmarks.protocols.nas import Nas, NasConfig
from benchmarks.protocols.no_finetune import NoFinetuneConfig
from benchmarks.published_results.per_network import accuracy
from benchmarks.published_results.truths import published_truth
from benchmarks.records.record import Record
from benchmarks.records.record_files import read_record
from benchmarks.records.validation import find_clashes, find_problems
from benchmarks.records.verification import LocalInputs, compare_again
from benchmarks.reporting.rows import record_rows
from deepnets.datasets.generation import generate
from deepnets.published.exporter import export_files
from deepnets.published.importer import import_file
from deepnets.utils.errors import InputError
from tests.support.quick_protocols import scored

pytestmark = pytest.mark.usefixtures("in_this_process")


@torch.no_grad()
def outputs(case: Case[Any]) -> dict[str, float]:
    """Results that depend on all of the network: k / 300 as of 300 test images."""
    images, _ = next(iter(case.task.test.batches(2)))
    right = int(case.model.eval()(images).double().abs().sum().item() * 1e4) % 300 / 300
    return {"top1": right, "top5": right}


def measured(out: Path, **options: Any) -> tuple[Record, bytes]:
    chosen = RunOptions("randinit", workers=1, out=out, **options)
    path, _ = evaluate_run(load_run_context(run_config(chosen, NoFinetuneConfig())), chosen, ["benchmarks.run"])
    return read_record(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of generated files, and of the same files after export and import in the published format."""
    folder = tmp_path_factory.mktemp("networks")
    sources = [
        generate(folder / "own" / f"deepnets1m_{split}.hdf5", split, num=2, workers=1) for split in ("test", "wide")
    ]
    export_files(sources, folder / "deepnets1m_eval.hdf5")
    import_file(folder / "deepnets1m_eval.hdf5", folder / "imported")
    return folder / "own", folder / "imported"


def test_sampled_generated_and_imported_networks_give_equal_records(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(outputs, monkeypatch)
    routes: dict[str, dict[str, Any]] = {
        "sampled": {"num": 2},
        "own": {"networks_from": folders[0]},
        "imported": {"networks_from": folders[1]},
    }
    runs = {name: measured(tmp_path / name, split=("test", "wide"), **how) for name, how in routes.items()}
    sampled, own, imported = (runs[name][0] for name in routes)

    assert len({table for _, table in runs.values()}) == 1
    assert sampled["results"] == own["results"] == imported["results"]
    assert "networks_from" not in sampled
    assert own["networks_from"]["source"] == "generated"
    assert imported["networks_from"]["source"] == "deepnets1m_eval.hdf5"
    assert own["networks_from"]["sha256"] == imported["networks_from"]["sha256"]
    assert len({record["run_id"] for record in (sampled, own, imported)}) == 3
    assert all(find_problems(*run, {}) == [] for run in runs.values())
    assert record_rows(imported)[0].setting == "networks of deepnets1m_eval.hdf5"
    again = list(compare_again(imported, runs["imported"][1], LocalInputs(networks=folders[1]), 2, 0))
    assert all(comparison.agrees for comparison in again)
    with pytest.raises(ValueError, match=r"its networks are files of deepnets1m_eval\.hdf5; give --networks-from"):
        list(compare_again(imported, runs["imported"][1], LocalInputs(), 2, 0))


def test_files_that_are_missing_or_too_short(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"deepnets1m_deep.hdf5 does not exist; deepnets import makes such files"):
        networks_in("deep", folder=str(folders[0]))
    with pytest.raises(InputError, match=r"there is no network test/2 in .*, which has 2 of test"):
        networks_in("test/2", folder=str(folders[0]))


def test_networks_that_are_not_the_published_ones_have_no_published_truth(folders: tuple[Path, Path]) -> None:
    settings = NasConfig(truth="cifar10_sgd_50ep")
    network = network_at("test", 0, str(folders[1]))
    case: Any = Case(torch.nn.Identity(), None, 64, 0, network, lambda case: 1.0)
    with pytest.raises(InputError, match=r"it is not the published network: it has \d+ parameters, that one \d+"):
        Nas().evaluate(case, settings)
    known = accuracy("cifar10", "RANDINIT", protocol="sgd_50ep")
    assert published_truth("cifar10_sgd_50ep", network) == known["test", 0]
    assert Nas().known_value(settings, network_at("wide", 7)) == ("truth", known["wide", 7])
    Nas().check_groups(settings, ("test", "wide"), from_files=True)
    with pytest.raises(InputError, match=r"of the published networks of DeepNets-1M \(--networks-from FOLDER\)"):
        Nas().check_groups(settings, ("test", "wide"))


def test_single_networks_of_splits() -> None:
    (alone,), third = networks_in("test/3"), network_at("test", 3)
    assert (alone.group, alone.index, alone.name) == ("test/3", 0, third.name)
    assert alone.architecture(32) == third.architecture(32)
    assert alone.place_in_split == 3
    shuffled = network_at("nasbench201", 0)
    assert network_at(shuffled.name, 0).place_in_split == shuffled.place_in_split
    for wrong in ("test/500", "test/-1", "test/03", "test/x", "resnet50/3"):
        with pytest.raises(InputError, match=r"there (is|are) no network"):
            check_group(wrong)


def test_the_ten_best_networks_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(outputs, monkeypatch)
    whole, table = measured(tmp_path / "whole", split=("test", "bnfree"), num=8, repeats=2)
    rows = pd.read_csv(tmp_path / "whole" / f"{whole['run_id']}.csv.gz")
    best = rows.groupby("name", sort=False)["top1"].mean().sort_values(ascending=False, kind="stable")[:10]
    groups, selection = select_best(tmp_path / "whole")
    assert groups == tuple(best.index)
    assert (selection.name, selection.run_id) == ("top10", whole["run_id"])

    record, own_table = measured(tmp_path / "best", select_from=tmp_path / "whole")
    assert record["networks"] == dict.fromkeys(groups, 1)
    assert record["selection"] == {"name": "top10", "run_id": whole["run_id"]}
    assert list(record["results"]) == [*groups, "top10"]
    assert record["results"]["top10"]["networks"] == 10
    assert find_problems(record, own_table, {}) == []
    (row, _) = record_rows(record)
    assert list(row.values) == ["top10"]
    assert (row.setting, row.complete) == ("ten best selected before", True)
    both = [(whole, table), (record, own_table)]
    assert not any("best" in problem for _, problem in find_clashes(both))
    other: Record = json.loads(json.dumps({**record, "networks": {**record["networks"], "test/9": 1}}))
    assert (record["run_id"], f"its networks are not the best of {whole['run_id']}") in list(
        find_clashes([both[0], (other, own_table)])
    )


def test_runs_without_best_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 0 tables of networks; give the folder of one finished run"):
        select_best(tmp_path)
    rows = {"group": ["test", "resnet50"], "name": ["test/0", "resnet50"], "status": "ok", "top1": 0.5}
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv.gz", index=False)
    with pytest.raises(InputError, match="has networks of resnet50, test; accepted: those of test, wide"):
        select_best(tmp_path)
    pd.DataFrame(rows).drop(columns="top1").to_csv(tmp_path / "a.csv.gz", index=False)
    with pytest.raises(InputError, match="has no top-1 accuracies"):
        select_best(tmp_path)


def test_numbers_of_networks_are_those_of_the_files(folders: tuple[Path, Path]) -> None:
    options = RunOptions("randinit", split=("test", "resnet18"), networks_from=folders[0])
    plan = run_config(options, NoFinetuneConfig())
    assert plan.networks() == {"test": 2, "resnet18": 1}
    assert replace(plan, num=1).networks() == {"test": 1, "resnet18": 1}
