"""Statistics agree with networkx, the training widths with their rule, and generated networks with the paper."""

import dataclasses
import json
from pathlib import Path

import networkx
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from deepnets.analysis.statistics import (
    PAPER_TABLE_1,
    assignment_costs,
    average_path_lengths,
    primitive_counts,
    sample_indices,
    split_statistics,
    table_text,
    used_architectures,
)
from deepnets.datasets.generation import generate
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.training_widths import TRAINING_CHANNELS, TRAINING_FC_DIMS, training_widths
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    generate(folder / "val.hdf5", "val", num=30, workers=1)
    generate(folder / "train.hdf5", "train", num=10_000, workers=1)
    return folder


@pytest.fixture(scope="module")
def val(folder: Path) -> NetworkFile:
    return NetworkFile(folder / "val.hdf5")


@pytest.fixture(scope="module")
def train(folder: Path) -> NetworkFile:
    return NetworkFile(folder / "train.hdf5")


@pytest.fixture(scope="module")
def graphs(val: NetworkFile) -> list[ArchGraph]:
    return [val.graph(i) for i in range(len(val))]


def test_equal_to_networkx(val: NetworkFile, graphs: list[ArchGraph]) -> None:
    found = split_statistics(val)
    undirected = [graph.to_networkx().to_undirected() for graph in graphs]
    paths = [networkx.average_shortest_path_length(graph) for graph in undirected]
    degrees = [np.mean([degree for _, degree in graph.degree]) for graph in undirected]
    ops = np.concatenate([graph.op for graph in graphs])
    assert found.path_length.mean == pytest.approx(np.mean(paths))
    assert found.path_length.std == pytest.approx(np.std(paths))
    assert found.degree.mean == pytest.approx(np.mean(degrees))
    assert (found.nodes.min, found.nodes.max) == (min(map(len, graphs)), max(map(len, graphs)))
    for index, name in enumerate(PRIMITIVES):
        assert found.primitives[name] == pytest.approx(100 * np.mean(ops == index))


def test_equal_to_architectures(val: NetworkFile) -> None:
    found = split_statistics(val)
    architectures = [val.architecture(i) for i in range(len(val))]
    params = [architecture.num_params(32, 10) / 1e6 for architecture in architectures]
    assert (found.params.min, found.params.max) == pytest.approx((min(params), max(params)))
    assert found.params.mean == pytest.approx(np.mean(params))
    assert (found.channels.min, found.channels.max) == (
        min(a.channels for a in architectures),
        max(a.channels for a in architectures),
    )
    assert found.cells.mean == pytest.approx(np.mean([a.n_cells for a in architectures]))
    assert found.without_bn == pytest.approx(100 * np.mean([a.norm is None for a in architectures]))
    assert (found.num_graphs, found.sample) == (30, 30)


def test_path_length_of_a_disconnected_graph_is_infinite() -> None:
    ptr = np.array([0, 3]), np.array([0, 1])
    node, edge = np.zeros(3, np.uint8), np.array([0], np.uint16)
    lengths = average_path_lengths(GraphColumns(*ptr, node, node, node.astype(np.uint16), edge, edge + 1))
    assert lengths.tolist() == [np.inf]


def test_primitive_shares_of_the_paper(train: NetworkFile) -> None:
    """Standard errors measured on blocks of 2,000 networks, bn 0.24 points at most, give 0.11 for 10,000."""
    found = split_statistics(train, sample=200)
    for name in PRIMITIVES:
        assert found.primitives[name] == pytest.approx(float(PAPER_TABLE_1["train"][name]), abs=0.5), name
    assert found.without_bn == pytest.approx(3.5, abs=0.8)  # four standard errors of a share of 10,000
    assert found.path_length.mean == pytest.approx(14.5, abs=1.4)  # 4.8 / sqrt(200) is 0.34


def test_the_sample_is_recorded_seeded_and_checked(train: NetworkFile) -> None:
    found = split_statistics(train, sample=50)
    assert found.sample == 50
    assert found == split_statistics(train, sample=50)
    assert len(np.unique(sample_indices(train, 50))) == 50
    with pytest.raises(ValueError, match="sample is 0"):
        split_statistics(train, sample=0)


def test_parameters_of_train_are_at_drawn_widths(train: NetworkFile) -> None:
    found = split_statistics(train, sample=300)
    index = sample_indices(train, 300)
    drawn = used_architectures(train)
    table = drawn.rows(index)
    params = count_parameters(table, 32, 10)
    assert (found.channels.min, found.channels.max) == (32, 128)
    assert found.channels.mean == drawn.channels.mean()
    assert found.params.mean == pytest.approx(params.mean() / 1e6)
    as_generated = (table.channels == 32) & (table.fc_dim == 256)
    assert as_generated.any()
    assert (params[as_generated] == train.num_params()[index][as_generated]).all()


@pytest.mark.parametrize(("wider", "most", "cells", "widths"), [(False, 0.8, 12, (48, 64)), (True, 2, 14, (80, 96))])
def test_training_widths_follow_the_rule(wider: bool, most: float, cells: int, widths: tuple[int, int]) -> None:
    networks = sample_networks("train", 0, 3000)
    table, params = networks.table, networks.num_params(32)
    channels, fc_dim = training_widths(table, params, np.random.default_rng(1), wider)
    for i in range(len(table)):
        architecture, p = table[i], params[i] / 1e6
        ops = {op for op, _ in architecture.genotype.normal + architecture.genotype.reduce}
        n_cells = architecture.n_cells
        fc_largest = 256
        if p > most or not architecture.glob_avg or ops & {"conv_5x5", "conv_7x7"} or n_cells > cells:
            largest = 32
        elif p > 0.4 or n_cells > 10:
            largest = widths[0]
        elif p > 0.2 or n_cells > 8:
            largest = widths[1]
        else:
            largest = 128
            fc_largest = 512 if channels[i] <= 64 else 256
        assert 32 <= channels[i] <= largest
        assert 64 <= fc_dim[i] <= fc_largest
    assert set(channels.tolist()) == set(TRAINING_CHANNELS.tolist())
    assert set(fc_dim.tolist()) == set(TRAINING_FC_DIMS.tolist())


def test_training_widths_are_uniform() -> None:
    """Only networks that may have any width get one above 64, so these widths are equally frequent."""
    networks = sample_networks("train", 0, 500)
    often = np.repeat(np.arange(500), 100)
    table, params = networks.table.rows(often), networks.num_params(32)[often]
    channels, _ = training_widths(table, params, np.random.default_rng(2))
    counts = np.bincount((channels[channels > 64] - 80) // 16)
    assert len(counts) == 4
    assert (abs(counts - counts.mean()) < 4 * np.sqrt(counts.mean())).all()


def test_assignment_cost_is_that_of_the_hungarian_algorithm(val: NetworkFile, graphs: list[ArchGraph]) -> None:
    counts = primitive_counts(val.graphs(np.arange(6)))
    costs = assignment_costs(counts[:3], counts[3:])
    for a in range(3):
        for b in range(3):
            one, other = graphs[a].op, graphs[3 + b].op
            size = max(len(one), len(other))
            cost = np.ones((size, size))  # nodes missing on the smaller side match nothing
            cost[: len(one), : len(other)] = one[:, None] != other
            assert costs[a, b] == cost[linear_sum_assignment(cost)].sum()
    assert (np.diag(assignment_costs(counts, counts)) == 0).all()


def test_table_text(val: NetworkFile, train: NetworkFile) -> None:
    text = table_text([("val", split_statistics(val)), ("mine", split_statistics(train, sample=20))])
    lines = text.splitlines()
    assert lines[0].split() == ["val", "paper", "mine", "paper"]
    rows = {line.split("  ")[0]: line.split() for line in lines}
    assert rows["graphs"][1:] == ["30", "500", "10,000", "10^6"]
    assert rows["conv"][-1] == "36.3"
    assert {line.split(" ")[0] for line in lines} >= set(PRIMITIVES)


def test_the_paper_is_quoted_where_it_applies(folder: Path, val: NetworkFile) -> None:
    imagenet = split_statistics(NetworkFile(folder / "val.hdf5", image_size=224))
    unknown = dataclasses.replace(split_statistics(val), split="mine")
    assert "paper" not in table_text([("val", imagenet), ("mine", unknown)])
    assert all(set(PAPER_TABLE_1["val"]) <= set(column) for column in PAPER_TABLE_1.values())


def test_statistics_are_ready_for_json(val: NetworkFile) -> None:
    found = split_statistics(val)
    read = json.loads(json.dumps(found.to_dict()))
    assert read == found.to_dict()
    assert read["nodes"]["max"] == found.nodes.max
