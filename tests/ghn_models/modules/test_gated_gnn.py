"""The gated GNN updates a level of nodes at once; here are one node after the other, and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepnets import ArchGraph
from ghn_models import GraphBatch
from ghn_models.modules.gated_gnn import GatedGNN


@st.composite
def dags(draw: st.DrawFn) -> ArchGraph:
    """Random acyclic graphs; every node but the first may read any earlier ones, or none."""
    nodes = draw(st.integers(1, 14))
    edges = [
        (target, source)
        for target in range(1, nodes)
        for source in sorted(draw(st.sets(st.integers(0, target - 1), max_size=3)))
    ]
    return ArchGraph(
        op=np.zeros(nodes, np.uint8),
        cell=np.zeros(nodes, np.uint8),
        name=np.array(["conv"] * nodes),
        shape=np.ones((nodes, 4), np.int32),
        edge_index=np.array(edges, np.int32).reshape(-1, 2).T[::-1],
    )


def node_by_node(gnn: GatedGNN, x: Tensor, graph: ArchGraph) -> Tensor:
    """Equations 3 and 4 of the DeepNets paper, literally."""
    states = list(x)
    distances = graph.distances(50)
    for _ in range(gnn.propagation_steps):
        for reverse in (False, True) if gnn.bidirectional else (False,):
            order = range(len(graph))
            for v in reversed(order) if reverse else order:
                message = torch.zeros_like(states[v])
                for u in order:
                    s = int(distances[v, u] if reverse else distances[u, v])
                    if s == 1:
                        message = message + gnn.message(states[u])
                    if s and gnn.virtual_edges:
                        message = message + gnn.virtual_message(states[u]) / s
                states[v] = gnn.gru(message[None], states[v][None])[0]
    return torch.stack(states)


@settings(max_examples=200, deadline=None)
@given(st.lists(dags(), min_size=1, max_size=3), st.booleans(), st.booleans(), st.integers(1, 2))
def test_levels_equal_node_by_node(graphs: list[ArchGraph], virtual: bool, backward: bool, sweeps: int) -> None:
    torch.manual_seed(0)
    gnn = GatedGNN(8, virtual, sweeps, backward).double()
    x = torch.randn(sum(map(len, graphs)), 8, dtype=torch.float64, requires_grad=True)
    together = gnn(x, GraphBatch.from_graphs(graphs))
    parts = x.split([len(graph) for graph in graphs])
    alone = torch.cat([node_by_node(gnn, part, graph) for part, graph in zip(parts, graphs, strict=True)])
    torch.testing.assert_close(together, alone)
    inputs = [x, *gnn.parameters()]
    weight = torch.randn_like(together)
    ours = torch.autograd.grad(together, inputs, weight, allow_unused=True)
    theirs = torch.autograd.grad(alone, inputs, weight, allow_unused=True)
    for a, b, value in zip(ours, theirs, inputs, strict=True):
        zero = torch.zeros_like(value)
        torch.testing.assert_close(zero if a is None else a, zero if b is None else b)


def test_finite_differences() -> None:
    edges = np.array([(1, 0), (2, 0), (3, 1), (3, 2), (4, 3)], np.int32).T[::-1]
    columns = {"op": np.zeros(5, np.uint8), "cell": np.zeros(5, np.uint8), "shape": np.ones((5, 4), np.int32)}
    graph = ArchGraph(name=np.array(["conv"] * 5), edge_index=edges, **columns)
    torch.manual_seed(0)
    gnn, batch = GatedGNN(4).double(), GraphBatch.from_graphs([graph])
    names = [name for name, _ in gnn.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        states: Tensor = torch.func.functional_call(gnn, dict(zip(names, parameters, strict=True)), (x, batch))
        return states

    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *gnn.parameters()), atol=1e-6)


@pytest.mark.parametrize("nodes", [1, 3])
def test_nodes_without_edges(nodes: int) -> None:
    columns = {"op": np.zeros(nodes, np.uint8), "cell": np.zeros(nodes, np.uint8)}
    shape, edges = np.ones((nodes, 4), np.int32), np.zeros((2, 0), np.int32)
    graph = ArchGraph(name=np.array(["conv"] * nodes), shape=shape, edge_index=edges, **columns)
    gnn, x = GatedGNN(8), torch.randn(nodes, 8)
    torch.testing.assert_close(gnn(x, GraphBatch.from_graphs([graph])), node_by_node(gnn, x, graph))
