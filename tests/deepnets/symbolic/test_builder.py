"""Symbolic graphs against the graphs of the reference implementation, and properties that every graph has."""

import gzip
import json
from collections import Counter
from typing import Any

import networkx as nx
import numpy as np
import pytest

from deepnets import ArchGraph, Architecture, symbolic_graph
from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.symbolic.builder import build_graphs, count_parameters
from tests.support.paths import GOLDEN as REFERENCE

GOLDEN = json.loads(gzip.decompress((REFERENCE / "deepnets_graphs.json.gz").read_bytes()))
NETWORKS = {net["id"]: net for net in GOLDEN["networks"] + GOLDEN["single_operation"]}


def golden_graph(net: dict[str, Any]) -> nx.DiGraph:
    graph = nx.DiGraph()
    for node, (op, name, shape) in enumerate(zip(net["ops"], net["names"], net["shapes"], strict=True)):
        full = (0, 0, 0, 0) if shape is None else (*shape, 1, 1, 1)[:4]
        graph.add_node(node, label=(op, name, full))
    graph.add_edges_from(net["edges"])
    return graph


def labelled(graph: ArchGraph) -> nx.DiGraph:
    # The reference guesses the cell of nodes without parameters from their neighbours, so cells are not compared.
    result: nx.DiGraph = graph.to_networkx()
    for _, node in result.nodes(data=True):
        node["label"] = (node["op"], node["name"], node["shape"])
    return result


@pytest.mark.parametrize("key", NETWORKS)
def test_equals_reference_graph(key: str) -> None:
    net = NETWORKS[key]
    architecture = Architecture.from_dict(net["args"])
    ours, reference = labelled(symbolic_graph(architecture)), golden_graph(net)
    assert Counter(nx.get_node_attributes(ours, "label").values()) == Counter(
        nx.get_node_attributes(reference, "label").values()
    )
    same = nx.is_isomorphic(ours, reference, node_match=lambda a, b: a["label"] == b["label"])
    assert same
    assert architecture.num_params(32) == net["n_params_cifar10"]
    assert architecture.num_params(224) == net["n_params_imagenet"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_graph_is_sound(split: str) -> None:
    networks = sample_networks(split, 0, 40, seed=3)
    for row in range(len(networks.table)):
        for image_size in (32, 224):
            check_graph(symbolic_graph(networks.table[row], image_size, num_classes=7))


def check_graph(graph: ArchGraph) -> None:
    """In topological order, connected from input to output, with a shape exactly where a parameter is."""
    sources, targets = graph.edge_index
    assert (sources < targets).all()
    ops = [PRIMITIVES[op] for op in graph.op]
    assert ops[0] == "input"
    assert ops[-2:] == ["conv", "bias"]
    assert graph.shape[-2][0] == graph.shape[-1][0] == 7
    without_reads = set(range(len(graph))) - set(targets.tolist())
    assert {ops[node] for node in without_reads} <= {"input", "pos_enc"}
    assert set(range(len(graph) - 1)) == set(sources.tolist())  # nothing but the output is unread
    has_shape = (graph.shape > 0).all(axis=1)
    assert all(has_shape[n] != (op in ("input", "sum", "concat", "msa", "cse", "glob_avg")) for n, op in enumerate(ops))
    parameters = [name for name, op in zip(graph.name, ops, strict=True) if name != op]
    assert len(set(parameters)) == len(parameters)


def test_a_batch_is_its_architectures_one_by_one() -> None:
    networks = sample_networks("dense", 0, 30, seed=1)
    for image_size in (32, 224):
        together = count_parameters(networks.table, image_size, 100)
        alone = [networks.table[row].num_params(image_size, 100) for row in range(30)]
        assert together.tolist() == alone
    for row in range(30):
        single = build_graphs(ArchitectureTable.from_architectures([networks.table[row]])).prune()
        taken = networks.graphs.take(np.array([row]))
        for column in ("op", "cell", "name", "edge_src", "edge_dst"):
            assert (getattr(single, column) == getattr(taken, column)).all()


def test_bad_input() -> None:
    architecture = sample_networks("val", 0, 1).table[0]
    with pytest.raises(ValueError, match="image_size is 64; architectures are defined for 32 and 224"):
        symbolic_graph(architecture, image_size=64)
    disconnected = {
        "normal": [["none", 0], ["none", 1]],
        "normal_concat": [2],
        "reduce": [["none", 0], ["none", 1]],
        "reduce_concat": [2],
    }
    with pytest.raises(ValueError, match="does not reach its output"):
        symbolic_graph(Architecture.from_dict({"genotype": disconnected, "n_cells": 4}))
