"""Property prediction: values from tables and measurements, regression on graph embeddings, the neural predictor."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.core.cli_options import RunOptions
from benchmarks.core.rank_correlation import kendall
from benchmarks.evaluation import make_study_report
from benchmarks.published_results import per_network as published
from benchmarks.studies.configs import PropertiesConfig
from benchmarks.studies.parts import property_values as values
from benchmarks.studies.parts import regression
from benchmarks.studies.parts.embeddings import split_graphs
from benchmarks.studies.parts.neural_predictor import train_and_predict
from benchmarks.studies.registry import STUDIES
from deepnets import ArchGraph
from deepnets.datasets.generation import generate, split_path
from deepnets.published.importer import import_file
from deepnets.sampling.sampler import sample_networks
from deepnets.symbolic.builder import count_parameters
from tests.support.paths import GOLDEN

COARSE = {"regressor__C": [1, 100], "regressor__gamma": ["auto", 0.1], "regressor__epsilon": [0.05]}
SAMPLES = GOLDEN / "official"


def test_regression_finds_a_known_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "GRID", COARSE)
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(60, 3)), rng.normal(size=(40, 3))

    def truth(x: np.ndarray) -> np.ndarray:
        values: np.ndarray = np.sin(x[:, 0]) + 0.5 * x[:, 1] ** 2
        return values

    fit = regression.fit(x, truth(x), x_test, truth(x_test), seed=0)
    assert fit.tau > 0.75
    noise = regression.fit(x, rng.normal(size=60), x_test, rng.normal(size=40), seed=0)
    assert abs(noise.tau) < 0.35
    other_unit = regression.fit(x, 1e-3 * truth(x) + 7, x_test, truth(x_test), seed=0)
    assert other_unit.parameters == fit.parameters
    assert np.allclose(other_unit.predicted, 1e-3 * fit.predicted + 7, atol=1e-6)
    assert np.allclose(regression.predict(fit.parameters, x, truth(x), x_test), fit.predicted)
    with pytest.raises(ValueError, match="9 networks have values; regression needs 10 or more"):
        regression.fit(x[:9], truth(x[:9]), x_test, truth(x_test), 0)


def test_neural_predictor_learns_from_graphs_and_is_deterministic() -> None:
    graphs, others = split_graphs("val", 0, 40), split_graphs("test", 0, 30)
    share = [np.array([(g.op == 4).mean() for g in some]) for some in (graphs, others)]
    state = torch.get_rng_state()
    predicted = train_and_predict(graphs, share[0], others, epochs=25, seed=0)
    assert torch.equal(state, torch.get_rng_state())
    assert kendall(predicted, share[1]) > 0.5
    assert np.array_equal(train_and_predict(graphs[:12], share[0][:12], others[:3], 1, 5),
                          train_and_predict(graphs[:12], share[0][:12], others[:3], 1, 5))  # fmt: skip


def test_measured_values_go_on_where_they_stopped(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    first = values.measured_values(path, 1, 32)
    again = values.measured_values(path, 2, 32)
    assert again.loc[first.index].equals(first)
    assert len(again) == 4
    assert (again > 0).all(axis=None)
    assert values.measured_values(path, 1, 32).equals(first)


def csv_file(path: Path, graphs: dict[str, list[ArchGraph]]) -> Path:
    rows = [
        {"group": split, "index": i, "repeat": r, "params": 1, "edges": float(g.edge_index.shape[1] + r), "name": "x"}
        for split, some in graphs.items()
        for i, g in enumerate(some)
        for r in (0, 1)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def both() -> dict[str, list[ArchGraph]]:
    return {split: split_graphs(split, 0, 30) for split in ("val", "test")}


def test_values_are_read_with_repetitions_averaged(tmp_path: Path, both: dict[str, list[ArchGraph]]) -> None:
    properties = values.read_values(csv_file(tmp_path / "v.csv", both), ())
    assert list(properties) == ["edges"]
    assert properties.loc[("test", 4), "edges"] == both["test"][4].edge_index.shape[1] + 0.5


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("split,index,a\nval,0,1\n", (), "has no networks of test"),
        ("split,index,a\nval,0,1\ntest,0,1\n", ("b",), "has no column 'b'; it has split, index, a"),
        ("split,a\nval,1\n", (), "has no column 'index'"),
        ("split,index,a\nval,0,x\ntest,0,y\n", ("a",), "the column 'a' of .* has other values than numbers"),
        ("split,index\nval,0\ntest,0\n", (), "has no column of a property"),
        ("split,index,a\nval,0,1\nval,,1\ntest,0,1\n", (), "'index' of .* has other values than whole numbers"),
        ("split,index,a\nval,0,1\ntest,0,inf\n", (), "the column 'a' of .* has infinite values"),
        ("split,index,a\n", (), "has no rows"),
        ("", (), "cannot be read as CSV"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(
    tmp_path: Path, content: str, columns: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "v.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        values.read_values(path, columns)


def test_properties_of_a_table_are_predicted_and_networks_picked(
    tmp_path: Path, both: dict[str, list[ArchGraph]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regression, "GRID", COARSE)
    options = PropertiesConfig(values=csv_file(tmp_path / "v.csv", both), shuffles=2, epochs=1, search=40, top=3)
    out = tmp_path / "study"
    report, text = make_study_report(
        STUDIES["properties"], RunOptions("ghn3_t", "properties", out=out), options, ["python"]
    )
    table = pd.read_csv(out / "correlations.csv").set_index("method")
    assert table.loc["ghn3_t.digits", "tau"] > 0.5  # the number of edges can be seen in the embedding
    assert table.index.tolist() == ["ghn3_t.digits", "primitives", "neupred"]
    assert table[["shuffles", "fitted", "tested"]].eq([2, 30, 30]).all(axis=None)
    picks = pd.read_csv(out / "picks.csv")
    searched = split_graphs("search", 0, 40)
    edges = np.array([g.edge_index.shape[1] for g in searched])
    assert edges[picks["index"]].mean() > edges.mean() + edges.std()  # more is better
    first = picks.iloc[0]
    assert first["params"] == sum(
        p.numel()
        for p in sample_networks("search", first["index"], first["index"] + 1).table[0].build(10, 32).parameters()
    )
    assert "edges" in text
    # A finished study is neither computed again nor overwritten.
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "lock"}
    again = make_study_report(STUDIES["properties"], RunOptions("ghn3_t", "properties", out=out), options, ["python"])
    assert again == (report, text)
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "lock"}
    with pytest.raises(ValueError, match="has a study with seed 0 instead of 1; choose another --out"):
        make_study_report(
            STUDIES["properties"], RunOptions("ghn3_t", "properties", out=out, seed=1), options, ["python"]
        )


def test_published_values_need_the_published_networks(tmp_path: Path) -> None:
    for packed in SAMPLES.glob("deepnets1m_eval*.gz"):
        (tmp_path / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    import_file(tmp_path / "deepnets1m_eval.hdf5", tmp_path)
    with pytest.raises(ValueError, match="has other networks than the published ones of val"):
        values.published_graphs(tmp_path, "val", "cifar10")


def test_published_values_are_the_four_properties_of_both_data_sets() -> None:
    for dataset in values.PUBLISHED:
        table = values.published_values(dataset)
        assert list(table) == ["accuracy", "accuracy_noise", "inference_time", "convergence_time"]
        assert table.groupby("split").size().to_dict() == {"val": 500, "test": 500}
    both = values.published_values("cifar10")
    rounded = [both[name].round() for name in ("accuracy", "accuracy_noise")]
    assert kendall(*rounded) == pytest.approx(-0.40, abs=0.005)  # printed in section C.2.3


@pytest.mark.slow
def test_published_networks_are_studied_on_both_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a made-up publication of twelve networks."""
    params = []
    for split in ("val", "test"):
        generate(split_path(tmp_path, split), split, num=12, workers=1)
        networks = sample_networks(split, 0, 12)
        counts = count_parameters(networks.architectures(32), 32, 10)
        params += [{"split": split, "arch_index": i, "params": count} for i, count in enumerate(counts)]
    rng = np.random.default_rng(0)
    table = pd.DataFrame(params).assign(
        method="RANDINIT", inference_time_s=rng.random(24), converge_time=rng.random(24)
    )
    about = {"cifar10": ("sgd_50ep", "val_top1"), "imagenet": ("sgd_1ep", "val_top5")}
    tables = {
        name: table.assign(protocol=protocol, **{column: rng.random(24), f"{column}_noise": rng.random(24)})
        for name, (protocol, column) in about.items()
    }
    monkeypatch.setattr(published, "load", lambda name: tables[name].copy())
    options = PropertiesConfig(folder=tmp_path, shuffles=1, epochs=0, search=20, top=1)
    monkeypatch.setattr(regression, "GRID", {"regressor__C": [1]})
    make_study_report(
        STUDIES["properties"], RunOptions("ghn2", "properties", out=tmp_path / "out"), options, ["python"]
    )
    correlations = pd.read_csv(tmp_path / "out" / "correlations.csv")
    assert correlations.groupby("data", sort=False).size().to_dict() == {"cifar10": 8, "imagenet": 8}
