"""The nas protocol: scores against truth, from accuracies, proxies and files."""

import copy
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from benchmarks.core.evaluation_networks import EvaluationNetwork, network_at, networks_in
from benchmarks.core.ranking_quality import ranking_quality, regret
from benchmarks.execution import scheduler as execution
from benchmarks.execution.jobs import evaluate
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.execution.run_folder import RunFolder
from benchmarks.execution.scheduler import compute
from benchmarks.protocols import nas
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.published_results.paper_tables import published_rows
from benchmarks.published_results.per_network import accuracy, load, values
from benchmarks.published_results.truths import published_truth
from benchmarks.records.record import Record, make_record, read_rows, run_identity
from benchmarks.records.validation import find_problems
from benchmarks.reporting.rows import record_rows
from benchmarks.reporting.run_summary import summarize_failures, summarize_run
from deepnets.sampling.sampler import sample_networks
from deepnets.spaces.chain import chain_num_params
from deepnets.spaces.registry import SPACES
from deepnets.symbolic.builder import count_parameters
from ghn_models.checkpoints import folder as checkpoints
from tests.support.made_up_records import edited

pytestmark = pytest.mark.usefixtures("in_this_process")
NUM = 8
PLAN = RunConfig("nas", nas.NasConfig(), "params", "digits", ("test", "bnfree"), num=NUM)


def params(split: str) -> list[int]:
    networks = sample_networks(split, 0, NUM)
    return [int(count) for count in count_parameters(networks.architectures(32), 32, 10)]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Some truth, for all networks but one."""
    rows = [(group, i, (37 * i + len(group)) % 11 / 10) for group in ("test", "bnfree") for i in range(NUM)]
    path = tmp_path / "truth.csv"
    pd.DataFrame(rows[:-1], columns=["group", "index", "truth"]).to_csv(path, index=False)
    return path


def measured(plan: RunConfig, folder: Path) -> tuple[Record, bytes]:
    rows = compute(load_run_context(plan), RunFolder(folder, run_identity(plan, load_run_context(plan))), None, 1)
    return make_record(plan, load_run_context(plan), rows, ["python", "-m", "benchmarks.run"])


def test_a_proxy_against_a_file_of_truth(tmp_path: Path, truth: Path) -> None:
    plan = replace(PLAN, settings=nas.NasConfig(truth=str(truth)))
    record, table = measured(plan, tmp_path / "run")
    known = pd.read_csv(truth).set_index(["group", "index"])["truth"]
    expected = {g: kendalltau(params(g)[: len(known[g])], known[g]).statistic for g in ("test", "bnfree")}
    pooled = kendalltau((params("test") + params("bnfree"))[:-1], known).statistic
    assert {g: r["tau"]["tau"] for g, r in record["results"].items()} == pytest.approx({**expected, "all": pooled})
    assert all(r["tau"]["low"] <= r["tau"]["tau"] <= r["tau"]["high"] for r in record["results"].values())
    assert (record["results"]["bnfree"]["failed"], record["results"]["all"]["tau"]["n"]) == (1, 2 * NUM - 1)
    assert b"truth.csv has no truth for it" in table
    assert record["protocol"]["settings"]["truth"].startswith("truth.csv ")
    assert str(tmp_path) not in str({**record, "command": ""})
    assert find_problems(record, table, {}) == []
    line = record_rows(record)[0]
    assert line.values["test"][0] == pytest.approx(expected["test"])
    assert line.setting.startswith("truth of truth.csv ")
    assert f"{expected['test']:.3f} [" in summarize_run(record)


def test_published_truth_is_that_of_the_network_of_this_name() -> None:
    members = networks_in("torchvision74")
    known = {(s.group, s.index): published_truth("published", s) for s in members}
    table = load("torchvision74")
    trained = table[(table["method"] == "RANDINIT") & (table["protocol"] == "sota")].set_index("arch")["top1"]
    assert {s.name: known["torchvision74", s.index] for s in networks_in("torchvision74")} == trained.to_dict()
    assert known["torchvision74", [s.name for s in networks_in("torchvision74")].index("resnet50")] == pytest.approx(
        76.13
    )


def test_a_file_of_scores(tmp_path: Path, truth: Path) -> None:
    scores = tmp_path / "guess.csv.gz"
    pd.read_csv(truth).rename(columns={"truth": "score"}).to_csv(scores, index=False)
    record, table = measured(
        replace(PLAN, model=str(scores), settings=nas.NasConfig(truth=str(truth)), groups=("test",)), tmp_path / "run"
    )
    assert record["results"]["test"]["tau"]["tau"] == pytest.approx(1)
    assert record["model"]["name"] == f"file-guess-{checkpoints.sha256(scores)[:6]}"
    assert find_problems(record, table, {}) == []
    changed = copy.deepcopy(record)
    changed["results"]["test"]["tau"] = {"tau": 0.5}
    assert find_problems(changed, table, {})


def test_truth_is_accuracy_after_training() -> None:
    """Of the same network, whatever scores it."""
    job = replace(PLAN, groups=("test",)).jobs()[4]
    settings = nas.NasConfig("training", epochs=0.1)
    rows = [
        evaluate(load_run_context(replace(PLAN, model=model, settings=settings)), job)
        for model in ("params", "randinit")
    ]
    assert [row.status for row in rows] == ["ok", "ok"]
    assert rows[0].values["truth"] == rows[1].values["truth"]
    assert rows[0].values["score"] == params("test")[4]
    assert 0 <= float(rows[1].values["score"]) <= 1


def test_truth_does_not_depend_on_the_thread_that_builds_the_next_network() -> None:
    plan = replace(PLAN, settings=nas.NasConfig("training", epochs=0.1), groups=("test",), num=13)
    # Small networks without dropout, which draws from the CPU's generator here, but on a GPU from its own.
    jobs = [plan.jobs()[i] for i in (7, 12)]
    ahead = [row.values["truth"] for _, row in execution._one_ahead(load_run_context(plan), jobs)]
    assert ahead == [evaluate(load_run_context(plan), job).values["truth"] for job in jobs]


def test_published_truth_and_counted_parameters_cannot_be_made_up() -> None:
    plan = RunConfig("nas", nas.NasConfig(), "params", "digits", ("torchvision74",), num=3)
    known = {job: nas.Nas().known_value(plan.settings, networks_in(job.group)[job.index]) for job in plan.jobs()}
    assert all(known.values())
    rows = [
        Row(
            job=job,
            name=networks_in(job.group)[job.index].name,
            params=7 + job.index,
            batch_size=128,
            seconds=1.0,
            status="ok",
            reason="",
            values={"score": 7.0 + job.index, "truth": value[1]},
        )
        for job, value in known.items()
        if value is not None
    ]
    assert find_problems(*make_record(plan, load_run_context(plan), rows, ["run"]), {}) == []
    for change, message in (({"truth": 99.0}, "it must be 56.522"), ({"score": 99.0}, "scores of params differ")):
        changed = [edited(rows[0], **change), *rows[1:]]
        (found,) = find_problems(*make_record(plan, load_run_context(plan), changed, ["run"]), {})
        assert message in found
    record, table = make_record(plan, load_run_context(plan), rows, ["run"])
    elsewhere = record | {"networks": {"test": 3}}
    (found,) = find_problems(elsewhere, table, {})
    assert "there are no published accuracies of test, but of torchvision74, nasbench101, nasbench201" in found


@pytest.mark.parametrize(
    "damage", [lambda content: content[:60], lambda content: content[:10] + b"\xff" + content[11:]]
)
def test_damaged_tables_are_one_sentence(damage: Callable[[bytes], bytes], tmp_path: Path, truth: Path) -> None:
    path = tmp_path / "scores.csv.gz"
    content = truth.read_text().replace("truth", "score").encode()
    path.write_bytes(damage(gzip.compress(content)))
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        load_run_context(replace(PLAN, model=str(path)))
    path = tmp_path / "scores.csv"
    for wrong in ("good", "inf"):
        path.write_text(f"group,index,score\ntest,0,0.5\ntest,1,{wrong}\n")
        with pytest.raises(ValueError, match=f"has '{wrong}'; accepted: finite numbers"):
            load_run_context(replace(PLAN, model=str(path)))


def test_groups_that_failed_as_a_whole_have_no_correlation(tmp_path: Path, truth: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("group,index,score\ntest,0,0.5\ntest,1,0.6\n")
    record, table = measured(replace(PLAN, model=str(path), settings=nas.NasConfig(truth=str(truth))), tmp_path / "run")
    assert record["results"]["bnfree"]["failed"] == NUM
    assert record["results"]["bnfree"]["tau"] == {"n": 0, "tau": None, "low": None, "high": None}
    assert record["results"]["all"]["tau"]["n"] == 2
    (found,) = find_problems(record, table, {})
    assert found.startswith("there is no tau: fewer than three networks")
    assert "bnfree" in summarize_run(record)
    assert summarize_failures(read_rows(table)) == f"{2 * NUM - 2} failed: the file has no value for it\n"


@pytest.mark.parametrize(
    ("columns", "message"),
    [("group,index\n", "needed: group, index, truth or top1"), ("\xff\xfe", "cannot be read|has the columns")],
)
def test_files_that_cannot_be_used(tmp_path: Path, columns: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(columns.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        run_identity(replace(PLAN, settings=nas.NasConfig(truth=str(path))), load_run_context(PLAN))
    with pytest.raises(ValueError, match=r"cannot be read|needed: group, index, score|has the columns"):
        load_run_context(replace(PLAN, model=str(path)))
    with pytest.raises(ValueError, match="cannot be read"):
        load_run_context(replace(PLAN, model=str(tmp_path / "nothing.csv")))


def test_proxies_are_for_nas_only() -> None:
    with pytest.raises(ValueError, match="synflow gives networks scores and no parameters"):
        load_run_context(
            RunConfig("no_finetune", PROTOCOLS["no_finetune"].settings_class(), "synflow", "digits", ("test",))
        )


def test_published_rows_follow_from_published_results() -> None:
    rows = {(row.model, row.dataset): row.values for row in published_rows("nas")}
    assert len(rows) == 9
    for dataset, protocol in (("cifar10", "sgd_50ep"), ("imagenet", "sgd_1ep")):
        truth = accuracy(dataset, "RANDINIT", protocol=protocol)
        for model, scores in (("GHN-2", accuracy(dataset, "GHN-2")), ("params", values(dataset, "params"))):
            for split in ("test", "deep"):
                pair = pd.concat([scores[split], truth[split]], axis=1, join="inner").dropna()
                tau, low, high = (float("nan") if number is None else number for number in rows[model, dataset][split])
                assert tau == kendalltau(*pair.to_numpy().T).statistic
                assert low < tau < high


@pytest.mark.parametrize("split", ["nasbench101", "nasbench201", "nasbench301", "nasbench_macro"])
def test_splits_of_trained_architectures(split: str, tmp_path: Path) -> None:
    plan = RunConfig("nas", nas.NasConfig(), "params", "digits", (split,), num=40)
    record, table = measured(plan, tmp_path / "run")
    space = SPACES[split]
    members = networks_in(split, 40)
    rows = [member.place_in_split for member in members]
    assert len(set(rows)) == 40
    assert rows != sorted(rows)
    assert [member.name for member in members] == [f"{split}/{row}" for row in rows]
    truth = space.truth().column(space.target)[rows]
    assert space.chain is not None
    counts = [chain_num_params(space.chain(space.truth().keys[row], 10)) for row in rows]
    result = record["results"][split]["tau"]
    assert result["tau"] == pytest.approx(kendalltau(counts, truth).statistic)
    assert result["spearman"] == pytest.approx(spearmanr(counts, truth).statistic)
    best = sorted(range(40), key=lambda i: -counts[i])[:10]
    assert result["regret_10"] == pytest.approx(max(truth) - max(truth[i] for i in best))
    assert result["spearman_low"] <= result["spearman"] <= result["spearman_high"]
    assert read_rows(table)["truth"].tolist() == truth.tolist()
    assert find_problems(record, table, {}) == []
    text = summarize_run(record)
    assert "published accuracy" in text
    assert "regret of the best of 10" in text
    assert (f"{split} (surrogate)" in text) == (split == "nasbench301")


def test_a_graph_of_a_trained_architecture_is_that_of_its_network() -> None:
    for split in ("nasbench101", "nasbench201", "nasbench301", "nasbench_macro"):
        model, graph = network_at(split, 5).build(32, 7)
        assert graph is not None
        shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        assert {name for name in graph.name.tolist() if name.endswith(("weight", "bias"))} <= shapes.keys()
        assert graph.shape[-1].tolist() == [7, 1, 1, 1]


def test_other_published_columns() -> None:
    settings = nas.NasConfig(truth="cifar100_test")
    network = network_at("nasbench201", 3)
    expected = SPACES["nasbench201"].truth().column("cifar100_test")[network.place_in_split]
    assert nas.Nas().known_value(settings, network) == ("truth", expected)
    assert nas.Nas().describe_settings(settings) == "published cifar100_test"
    nas.Nas().check_groups(settings, ("nasbench201",))
    with pytest.raises(
        ValueError, match=r"nas.truth is 'cifar100_test'; accepted for nasbench_macro: published, cifar10"
    ):
        nas.Nas().check_groups(settings, ("nasbench201", "nasbench_macro"))
    speed = nas.NasConfig(truth="cpu_images_per_second")
    row = int(np.flatnonzero(np.isnan(SPACES["timm"].truth().column("cpu_images_per_second")))[0])
    with pytest.raises(ValueError, match="there is no published cpu_images_per_second of it"):
        nas.Nas().known_value(speed, EvaluationNetwork("timm", 0, f"timm/{row}"))


def test_ranking_quality() -> None:
    truth = np.arange(30.0)
    assert regret(-truth, truth, 1) == 29
    assert regret(-truth, truth, 30) == 0
    quality = ranking_quality(np.stack([truth**3, truth], axis=1))
    assert quality["spearman"] == quality["tau_top"] == 1
    assert quality["regret_1"] == quality["regret_10"] == 0
    # The three best are in reverse order, all others in order.
    scores = np.concatenate([truth[:27], truth[:26:-1]])
    quality = ranking_quality(np.stack([scores, truth], axis=1))
    assert quality["tau_top"] == -1
    assert quality["regret_1"] == 2
    assert np.isnan(ranking_quality(np.stack([np.ones(30), truth], axis=1))["spearman"])
