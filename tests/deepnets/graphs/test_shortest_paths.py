"""Shortest paths against networkx."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data

from deepnets import ArchGraph, VirtualEdges
from deepnets.graphs.shortest_paths import shortest_paths
from deepnets.sampling.sampler import sample_networks


def networkx_paths(n_nodes: int, edges: np.ndarray) -> np.ndarray:
    """(N, N) lengths of paths from row to column, 0 where there is none."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n_nodes))
    graph.add_edges_from(edges.T.tolist())
    lengths = np.zeros((n_nodes, n_nodes), np.int64)
    for source, reached in nx.all_pairs_shortest_path_length(graph):
        for target, length in reached.items():
            lengths[source, target] = length
    return lengths


@given(st.integers(1, 25), st.sets(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=80))
def test_any_acyclic_graph(n_nodes: int, pairs: set[tuple[int, int]]) -> None:
    edges = sorted((t, s) for s, t in pairs if s < t < n_nodes)
    ends = np.array([(s, t) for t, s in edges], np.int64).reshape(-1, 2).T
    lengths = shortest_paths(n_nodes, *ends).T.astype(np.int64)
    assert (np.where(lengths > n_nodes, 0, lengths) == networkx_paths(n_nodes, ends)).all()


@pytest.mark.parametrize("split", ["train", "deep", "dense", "bnfree"])
def test_virtual_edges_of_networks(split: str) -> None:
    """The transform, with and without a cutoff that matters, on 50 networks of each split: 200 in all."""
    graphs = sample_networks(split, 0, 50, seed=11).graphs
    for i in range(50):
        nodes, edges = slice(*graphs.node_ptr[i : i + 2]), slice(*graphs.edge_ptr[i : i + 2])
        ends = np.stack([graphs.edge_src[edges], graphs.edge_dst[edges]]).astype(np.int64)
        n_nodes = nodes.stop - nodes.start
        expected = networkx_paths(n_nodes, ends)
        for cutoff in (50, 7):
            data = VirtualEdges(cutoff)(Data(edge_index=torch.from_numpy(ends), num_nodes=n_nodes))
            lengths = np.zeros_like(expected)
            lengths[tuple(data.edge_index.numpy())] = data.edge_attr.numpy()
            assert (lengths == np.where(expected <= cutoff, expected, 0)).all()
            assert len(data.edge_attr) == np.count_nonzero(lengths)


def test_edges_in_any_order() -> None:
    ends = torch.tensor([[2, 0, 1, 0], [3, 1, 2, 3]])
    data = VirtualEdges()(Data(edge_index=ends, num_nodes=4))
    lengths = {
        tuple(edge): length for edge, length in zip(data.edge_index.T.tolist(), data.edge_attr.tolist(), strict=True)
    }
    assert lengths == {(0, 1): 1, (1, 2): 1, (0, 2): 2, (2, 3): 1, (0, 3): 1, (1, 3): 2}


def test_graph_distances_and_statistics() -> None:
    chain = np.array([[0, 1, 2, 0], [1, 2, 3, 3]], np.int32)
    zeros = np.zeros(4, np.uint8)
    graph = ArchGraph(zeros, zeros, np.array(list("abcd")), np.zeros((4, 4), np.int32), chain)
    assert graph.distances().tolist() == [[0, 1, 2, 1], [0, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert graph.distances(cutoff=1).sum() == 4
    assert graph.average_degree == 2
    assert graph.average_path_length == pytest.approx(4 / 3)  # a ring of four


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="topological order"):
        shortest_paths(3, np.array([2]), np.array([1]))
    with pytest.raises(ValueError, match="cutoff is 0; it must be an integer, 1 or more"):
        VirtualEdges(0)
