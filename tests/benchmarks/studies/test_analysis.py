"""Studies of a GHN: distances, what predicted parameters are like, and their folders."""

import itertools
import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import nn

from benchmarks import run as command
from benchmarks.core.cli_options import RunOptions
from benchmarks.evaluation import make_study_report
from benchmarks.studies.configs import AnalysisConfig, PropertiesConfig
from benchmarks.studies.parts.diversity_sparsity import (
    cosine_distances,
    default_sparsity,
    first_layer,
    predict_weights,
    sparsity,
)
from benchmarks.studies.parts.embeddings import graph_embeddings, primitive_histogram, split_graphs
from benchmarks.studies.parts.graph_set_distances import frechet_distance, hungarian_costs
from benchmarks.studies.parts.graph_space import distances_from_resnet50, embedding_map
from benchmarks.studies.parts.layer_statistics import NetworkFactory, activation_variances, channel_correlations
from benchmarks.studies.registry import STUDIES
from deepnets import PRIMITIVES, ArchGraph, symbolic_graph
from deepnets.sampling.sampler import sample_networks
from deepnets.utils.errors import FileError
from deepnets.utils.run_directory import RunDirectory
from ghn_models import GHN, create, load
from ghn_models.inputs.prediction_targets import ParameterKind, PredictionTarget, find_targets

FEW = AnalysisConfig(train=10, num=10, networks=("vit",), shape=(32, 1, 3, 3))


@pytest.fixture(scope="module")
def ghn() -> GHN:
    return load("ghn3_t.digits").eval()


# Distances


def normals(seed: int, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_frechet_distance_is_the_formula_with_the_root_of_scipy(seed: int, d: int) -> None:
    a, b = normals(seed, 40, d), normals(seed + 1, 30, d)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    mean = a.mean(0) - b.mean(0)
    root = scipy.linalg.sqrtm(first @ second).real
    assert frechet_distance(a, b) == pytest.approx(
        mean @ mean + np.trace(first + second - 2 * root), rel=1e-6, abs=1e-6
    )
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_frechet_distance_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + np.array([3.0, 0, 4, 0])) == pytest.approx(25)
    spread = np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(x, 3 * (x - x.mean(0)) + x.mean(0)) == pytest.approx(4 * spread)  # (3 - 1)^2 tr S
    few, flat = x[:3], np.zeros((5, 4))  # singular covariances
    assert frechet_distance(few - few.mean(0), flat) == pytest.approx(np.trace(np.cov(few, rowvar=False)))


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (5, 2)), ((5,), (5,))])
def test_frechet_distance_refuses_other_samples(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="two or more embeddings of one size"):
        frechet_distance(*(np.zeros(shape) for shape in shapes))


def tiny_graph(nodes: list[tuple[int, int, str]]) -> ArchGraph:
    op, cell, name = zip(*nodes, strict=True)
    n = len(nodes)
    return ArchGraph(
        np.array(op, np.uint8), np.array(cell, np.uint8), np.array(name), np.zeros((n, 4), np.int32),
        np.array([np.arange(n - 1), np.arange(1, n)], np.int32),
    )  # fmt: skip


NODES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from("ab")), min_size=1, max_size=5)


def one_hot(graph: ArchGraph, size: int, kinds: list[tuple[int, int, str]]) -> np.ndarray:
    """Nodes as one-hot vectors, filled up with zeros."""
    vectors = np.zeros((size, len(kinds)))
    for row, node in enumerate(zip(graph.op.tolist(), graph.cell.tolist(), graph.name.tolist(), strict=True)):
        vectors[row, kinds.index(node)] = 1
    return vectors


@given(NODES, NODES)
@settings(max_examples=60, deadline=None)
def test_hungarian_costs_are_those_of_all_permutations_and_of_scipy(
    first: list[tuple[int, int, str]], second: list[tuple[int, int, str]]
) -> None:
    graphs = [tiny_graph(first), tiny_graph(second)]
    size, kinds = max(map(len, graphs)), sorted({*first, *second})
    a, b = (one_hot(graph, size, kinds) for graph in graphs)
    costs = np.linalg.norm(a[:, None] - b[None], axis=2)
    every = min(costs[range(size), order].sum() for order in map(list, itertools.permutations(range(size))))
    rows, columns = linear_sum_assignment(costs)
    matched = hungarian_costs(graphs, graphs)
    assert matched[0, 1] == pytest.approx(every)
    assert matched[0, 1] == pytest.approx(costs[rows, columns].sum())
    assert np.allclose(matched, matched.T)
    assert np.allclose(matched.diagonal(), 0)


def test_hungarian_costs_reproduce_the_published_table() -> None:
    """Table 11 of the DeepNets paper within 10%; here with 400 of the 5000 networks of train."""
    train = split_graphs("train", 0, 400)
    for split, cost in {"test": 208.7, "wide": 199.9, "deep": 365.6, "dense": 340.7, "bnfree": 193.1}.items():
        mean_cost = hungarian_costs(split_graphs(split, 0, 60), train).mean()
        assert mean_cost == pytest.approx(cost, rel=0.1), split


def test_resnets_differ_by_the_nodes_that_they_have(ghn: GHN) -> None:
    table = distances_from_resnet50(ghn, 32).set_index("network")
    # 16 more convolutions and as many norms, and those of the first shortcut; 16 sums, 4 shortcuts of two nodes.
    assert table.loc["resnet34", "hungarian"] == pytest.approx(34)
    assert table.loc["resnet50_no_skip", "hungarian"] == pytest.approx(24)
    assert table["hungarian_published"].tolist() == [118.0, 134.0, 207.5]
    assert table["distance"].idxmax() == "vit"


# Embeddings


def test_bulk_graphs_are_the_graphs_of_the_architectures() -> None:
    networks = sample_networks("wide", 3, 6)
    for size, channels in ((32, networks.channels(32)), (224, networks.channels(224))):
        for i, graph in enumerate(split_graphs("wide", 3, 6, size, 7)):
            expected = symbolic_graph(replace(networks.table[i], channels=int(channels[i])), size, 7)
            for name in ("op", "cell", "name", "shape", "edge_index"):
                assert np.array_equal(getattr(graph, name), getattr(expected, name))


@pytest.mark.parametrize("name", ["mlp", "ghn1", "ghn3_t"])
def test_embeddings_are_means_of_node_features_in_the_order_of_the_graphs(name: str) -> None:
    torch.manual_seed(0)
    model = create(name, 10, 32).eval()
    graphs = split_graphs("val", 0, 11)
    with torch.no_grad():
        alone = [model.embed([graph])[0][0].mean(0).numpy() for graph in graphs]
    assert np.allclose(graph_embeddings(model, graphs), alone, atol=1e-5)


def test_histogram_counts_primitives() -> None:
    graph = split_graphs("val", 0, 1)[0]
    counts = np.expm1(primitive_histogram([graph]))[0]
    assert np.allclose(counts, [(graph.op == i).sum() for i in range(len(PRIMITIVES))])


def test_the_map_keeps_distances_in_a_plane() -> None:
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(30, 2))
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]
    places, explained = embedding_map({"train": plane @ basis + 1, "test": plane[:4] @ basis + 1})
    xy = places[places["split"] == "test"][["x", "y"]].to_numpy()
    assert np.allclose(np.linalg.norm(xy - xy[0], axis=1), np.linalg.norm(plane[:4] - plane[0], axis=1))
    assert sum(explained) == pytest.approx(1)


# Predicted parameters


def test_cosine_distances_of_tensors_by_hand() -> None:
    tensors = torch.tensor([[1.0, 0], [-2, 0], [0, 3], [1, 1]])
    half = 1 - 0.5**0.5
    expected = [[0, 0, 1, half], [0, 0, 1, half], [1, 1, 0, half], [half, half, half, 0]]
    assert torch.allclose(cosine_distances(tensors), torch.tensor(expected, dtype=torch.double))


def test_random_tensors_have_the_expected_diversity() -> None:
    """E|cos| of random directions in k dimensions tends to sqrt(2 / (pi k)); the paper prints 0.98 (Table 12)."""
    random = torch.randn(300, 1152, generator=torch.Generator().manual_seed(0))
    expected = (1 - (2 / (np.pi * 1152)) ** 0.5) * 299 / 300
    assert cosine_distances(random).mean().item() == pytest.approx(expected, abs=1e-3)


def test_sparsity_by_hand_and_of_the_default_initialisation() -> None:
    assert sparsity(torch.tensor([0.0, 0.049, -0.049, 0.05, -0.05, 1.0])) == pytest.approx(0.5)
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4000, 5)
    target = PredictionTarget(0, ParameterKind.WEIGHT, ("w", None), (4000, 3, 5, 5))
    assert sparsity(layer.weight) == pytest.approx(default_sparsity(target), abs=0.005)


def test_predicted_tensors_are_those_of_the_whole_prediction(ghn: GHN) -> None:
    graphs = split_graphs("test", 0, 10)
    shapes = Counter(t.shape for g in graphs for t in find_targets(g) if t.kind is ParameterKind.WEIGHT)
    shape = shapes.most_common(1)[0][0]
    predicted = predict_weights(ghn, graphs, shape)
    with torch.no_grad():
        everything = [ghn.predict([graph])[0] for graph in graphs]
    small, expected = [], []
    for graph, parameters in zip(graphs, everything, strict=True):
        small.append(sparsity(parameters[first_layer(find_targets(graph)).names[0]]))
        expected += [w for n, w in parameters.items() if w.shape == shape and "pos_enc" not in n]
    assert len(expected) == len(predicted.of_shape) > 3
    norms, expected_norms = (sorted(w.norm().item() for w in some) for some in (predicted.of_shape, expected))
    assert np.allclose(expected_norms, norms, rtol=1e-4)
    assert np.allclose(predicted.first_layer_sparsity, small, atol=1e-6)
    with pytest.raises(ValueError, match=r"0 weights have the shape \(7, 7, 7, 7\)"):
        predict_weights(ghn, graphs[:1], (7, 7, 7, 7))


# Layers


def test_activation_variances_of_a_linear_network() -> None:
    first, last = nn.Linear(12, 8), nn.Linear(8, 5, bias=False)
    model = nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(8), last).eval()
    images = torch.randn(64, 3, 2, 2)
    with torch.no_grad():
        x = images.flatten(1) @ first.weight.T + first.bias
        z = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
        expected = {"1": x.var().item(), "3": (z @ last.weight.T).var().item()}
    assert activation_variances(model, images) == pytest.approx(expected, rel=1e-4)
    assert not first._forward_hooks


def test_channel_correlations_are_those_of_numpy() -> None:
    weight = torch.randn(6, 4, 3, 3)
    weight[3] = weight[1]  # tiled
    matrix = np.corrcoef(weight.flatten(1).numpy())
    correlations = channel_correlations(weight)
    assert np.allclose(correlations, matrix[np.triu_indices(6, 1)], atol=1e-6)
    assert correlations.max() == pytest.approx(1)
    weight[0] = 2.0  # no variance
    assert torch.isfinite(channel_correlations(weight)).all()


def test_orthogonal_weights_have_uncorrelated_channels(ghn: GHN) -> None:
    factory = NetworkFactory(ghn, "g", 32, seed=0, beta=3e-5, orth_layer=0)
    before, after, again = (
        {n: m for n, m in factory.build("vit", kind).named_modules() if isinstance(m, nn.Linear)}
        for kind in ("g", "g_orth", "g_orth")
    )
    name = next(n for n, m in before.items() if m.out_features <= m.in_features)
    spread = [channel_correlations(some[name].weight).std().item() for some in (before, after)]
    assert spread[1] < 0.2 * spread[0]
    gram = after[name].weight @ after[name].weight.T
    assert torch.allclose(gram, torch.eye(len(gram)), atol=1e-4)
    assert all(torch.equal(m.weight, again[n].weight) for n, m in after.items())


# Analysis and the command


def test_a_folder_is_of_one_study(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, {"image_size": 32}, "study").locked():
        pass
    with (
        pytest.raises(FileError, match="has a study with image_size 32 instead of 224"),
        RunDirectory(tmp_path, {"image_size": 224}, "study").locked(),
    ):
        pass


def test_analysis_writes_tables_and_pictures(tmp_path: Path) -> None:
    report = json.loads(
        make_study_report(STUDIES["analysis"], RunOptions("ghn2", "analysis", out=tmp_path), FEW, ["python"])[
            0
        ].read_text()
    )
    assert set(report["tables"]) == {"distances", "resnet50", "map", "parameters", "layers"}
    assert all((tmp_path / name).stat().st_size > 10_000 for name in report["figures"])
    assert len(report["model"]["weights_sha256"]) == 64
    layers = pd.read_csv(tmp_path / "layers.csv")
    assert set(layers["init"]) == {"randinit", "ghn2.digits", "ghn2.digits_orth"}
    spread = layers.groupby("init")["correlation_std"].mean()
    assert spread["ghn2.digits_orth"] < 0.5 * spread["ghn2.digits"]


@pytest.mark.slow
def test_analysis_is_the_same_twice(tmp_path: Path) -> None:
    reports = [
        json.loads(
            make_study_report(
                STUDIES["analysis"], RunOptions("ghn2", "analysis", out=tmp_path / name), FEW, ["python"]
            )[0].read_text()
        )
        for name in "ab"
    ]
    assert reports[0]["tables"] == reports[1]["tables"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ghn3_t", "ghn2"])
def test_splits_out_of_distribution_are_farther_from_train(tmp_path: Path, model: str) -> None:
    """What Table 11 of the DeepNets paper says of GHN-2, with the shipped weights."""
    make_study_report(
        STUDIES["analysis"],
        RunOptions(model, "analysis", out=tmp_path),
        AnalysisConfig(networks=()),
        ["python"],
    )
    table = pd.read_csv(tmp_path / "distances.csv").set_index("split")
    assert (table["frechet"] > table["floor"]).all()
    assert (table.loc[["deep", "dense", "bnfree"], "frechet"] > table.loc["test", "frechet"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model randinit --protocol analysis", "analysis studies a GHN, not randinit"),
        ("--model ghn3_t_orth --protocol properties", "properties studies a GHN, not ghn3_t_orth"),
        ("--model ghn3_t --protocol analysis --split test", "analysis has no --split; its own options begin with"),
        ("--model nothing --protocol analysis", "analysis studies a GHN, not nothing"),
        (
            "--model ghn3_t --protocol properties --properties.folder no",
            "there is no no/deepnets1m_val.hdf5; deepnets imp",
        ),
        ("--model ghn3_t --protocol analysis --dataset nothing", "there is no image data set 'nothing'"),
        ("--model ghn3_t --protocol magic", "there is no protocol 'magic'; accepted: detection, finetune, nas, "),
        ("--model ghn3_t --protocol properties --dataset cifar10", "properties has no --dataset"),
        ("--model ghn3_t --protocol properties --data-dir data", "properties has no --data-dir"),
    ],
)
def test_the_command_says_what_it_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run", *arguments.split()])
    assert command.main() == 2
    assert message in capsys.readouterr().err
    shutil.rmtree("results", ignore_errors=True)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PropertiesConfig, {"networks": 5}, "properties.networks is 5; accepted: 10 to 500"),
        (PropertiesConfig, {"top": 2000}, "properties.top is 2000; accepted: 1 to 1000"),
        (PropertiesConfig, {"folder": Path("a"), "values": Path("b")}, "not both"),
        (PropertiesConfig, {"columns": ("a",)}, "give both"),
        (AnalysisConfig, {"train": 1}, "analysis.train is 1; accepted: 2 to"),
        (AnalysisConfig, {"shape": (1, 2, 3)}, "four numbers"),
        (AnalysisConfig, {"beta": 0.0}, "must be a finite number above 0"),
        (AnalysisConfig, {"beta": float("nan")}, "must be a finite number above 0"),
        (AnalysisConfig, {"networks": ("test",)}, "which is several networks"),
        (AnalysisConfig, {"networks": ("nothing",)}, "there are no networks 'nothing'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(kind: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_studies_have_names_of_their_own() -> None:
    assert list(STUDIES) == ["properties", "analysis"]
    assert all(name == kind.name for name, kind in STUDIES.items())
