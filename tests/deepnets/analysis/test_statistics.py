"""Statistics agree with networkx, and those of generated networks with the paper."""

import json

import networkx
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from deepnets.analysis.statistics import (
    architectures_in_use,
    assignment_costs,
    average_path_lengths,
    primitive_counts,
    sample_indices,
    split_statistics,
)
from deepnets.analysis.table_1 import PAPER_TABLE_1
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters


def test_equal_to_networkx(val: NetworkFile, graphs: list[ArchGraph]) -> None:
    statistics = split_statistics(val)
    undirected = [graph.to_networkx().to_undirected() for graph in graphs]
    paths = [networkx.average_shortest_path_length(graph) for graph in undirected]
    degrees = [np.mean([degree for _, degree in graph.degree]) for graph in undirected]
    ops = np.concatenate([graph.op for graph in graphs])
    assert statistics.path_length.mean == pytest.approx(np.mean(paths))
    assert statistics.path_length.std == pytest.approx(np.std(paths))
    assert statistics.degree.mean == pytest.approx(np.mean(degrees))
    assert (statistics.nodes.min, statistics.nodes.max) == (min(map(len, graphs)), max(map(len, graphs)))
    for index, name in enumerate(PRIMITIVES):
        assert statistics.primitives[name] == pytest.approx(100 * np.mean(ops == index))


def test_equal_to_architectures(val: NetworkFile) -> None:
    statistics = split_statistics(val)
    assert statistics.cells is not None
    assert statistics.channels is not None
    architectures = [val.architecture(i) for i in range(len(val))]
    params = [architecture.num_params(32, 10) / 1e6 for architecture in architectures]
    assert (statistics.params.min, statistics.params.max) == pytest.approx((min(params), max(params)))
    assert statistics.params.mean == pytest.approx(np.mean(params))
    assert (statistics.channels.min, statistics.channels.max) == (
        min(a.channels for a in architectures),
        max(a.channels for a in architectures),
    )
    assert statistics.cells.mean == pytest.approx(np.mean([a.n_cells for a in architectures]))
    assert statistics.without_bn == pytest.approx(100 * np.mean([a.norm is None for a in architectures]))
    assert (statistics.num_graphs, statistics.sample) == (30, 30)


def test_path_length_of_a_disconnected_graph_is_infinite() -> None:
    ptr = np.array([0, 3]), np.array([0, 1])
    node, edge = np.zeros(3, np.uint8), np.array([0], np.uint16)
    lengths = average_path_lengths(GraphColumns(*ptr, node, node, node.astype(np.uint16), edge, edge + 1))
    assert lengths.tolist() == [np.inf]


def test_primitive_shares_of_the_paper(train: NetworkFile) -> None:
    """Standard errors measured on blocks of 2,000 networks, bn 0.24 points at most, give 0.11 for 10,000."""
    statistics = split_statistics(train, sample=200)
    for name in PRIMITIVES:
        assert statistics.primitives[name] == pytest.approx(float(PAPER_TABLE_1["train"][name]), abs=0.5), name
    assert statistics.without_bn == pytest.approx(3.5, abs=0.8)  # four standard errors of a share of 10,000
    assert statistics.path_length.mean == pytest.approx(14.5, abs=1.4)  # 4.8 / sqrt(200) is 0.34


def test_the_sample_is_recorded_seeded_and_checked(train: NetworkFile) -> None:
    statistics = split_statistics(train, sample=50)
    assert statistics.sample == 50
    assert statistics == split_statistics(train, sample=50)
    assert len(np.unique(sample_indices(train, 50))) == 50
    with pytest.raises(ValueError, match="sample is 0"):
        split_statistics(train, sample=0)


def test_parameters_of_train_are_at_drawn_widths(train: NetworkFile) -> None:
    statistics = split_statistics(train, sample=300)
    assert statistics.channels is not None
    index = sample_indices(train, 300)
    architectures = architectures_in_use(train)
    table = architectures.take(index)
    params = count_parameters(table, 32, 10)
    assert (statistics.channels.min, statistics.channels.max) == (32, 128)
    assert statistics.channels.mean == architectures.channels.mean()
    assert statistics.params.mean == pytest.approx(params.mean() / 1e6)
    as_generated = (table.channels == 32) & (table.fc_dim == 256)
    assert as_generated.any()
    assert (params[as_generated] == train.num_params()[index][as_generated]).all()


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


def test_statistics_are_ready_for_json(val: NetworkFile) -> None:
    statistics = split_statistics(val)
    read = json.loads(json.dumps(statistics.to_dict()))
    assert read == statistics.to_dict()
    assert read["nodes"]["max"] == statistics.nodes.max
