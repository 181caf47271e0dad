"""Graphs of the spaces: drawn from keys they equal those that are traced from the networks."""

import numpy as np
import pytest
import torch

from deepnets import TraceError, trace
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.networks.skip_init import on_meta_without_init
from deepnets.spaces.block import BlockBuilder
from deepnets.spaces.chain import chain_columns, chain_graph, chain_num_params
from deepnets.spaces.nasbench101 import Cell101
from deepnets.spaces.nasbench201 import is_connected, nasbench201_chain
from deepnets.spaces.nasbench301 import Genotype301
from deepnets.spaces.registry import SPACES, get_space

SYMBOLIC = [name for name, space in SPACES.items() if space.chain is not None]
# Cells of NAS-Bench-201 with identities, sums of equal terms, edges that do not run, and no way through.
ODD = ["000000", "010010", "200201", "121212", "113131", "333333", "001000", "111111", "231011"]


def assert_same(drawn: ArchGraph, traced: ArchGraph) -> None:
    """Equal node by node, in the same order; traced graphs have no cells."""
    assert drawn.name.tolist() == traced.name.tolist()
    assert drawn.op.tolist() == traced.op.tolist()
    assert drawn.shape.tolist() == traced.shape.tolist()
    assert drawn.edge_index.tolist() == traced.edge_index.tolist()


def check(space: str, key: str) -> None:
    chain_of = SPACES[space].chain
    assert chain_of is not None
    chain = chain_of(key, 10)
    graph = chain_graph(chain)
    with on_meta_without_init():
        model = SPACES[space].build(key, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == chain_num_params(chain)
    if space == "nasbench201" and not is_connected(key):
        with pytest.raises(TraceError, match="does not depend on its input"):
            trace(model)
        assert graph.name.tolist() == ["input", "norm.weight", "glob_avg", "classifier.weight", "classifier.bias"]
        assert graph.edge_index.tolist() == [[1, 2, 3], [2, 3, 4]]
    else:
        assert_same(graph, trace(model))


@pytest.mark.parametrize("space", SYMBOLIC)
@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_drawn_graphs_equal_traced_ones(space: str, count: int) -> None:
    keys = SPACES[space].truth().keys
    for row in np.random.default_rng(count).choice(len(keys), count, replace=False):
        check(space, keys[row])


@pytest.mark.parametrize("key", ODD)
def test_odd_cells_of_nasbench201(key: str) -> None:
    check("nasbench201", key)


@pytest.mark.parametrize("space", SYMBOLIC)
def test_networks_run(space: str) -> None:
    torch.manual_seed(0)
    keys = SPACES[space].truth().keys
    model = SPACES[space].build(keys[len(keys) // 2], 10)
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "classifier" in name)


def test_a_network_without_a_way_through_is_constant() -> None:
    torch.manual_seed(0)
    logits = SPACES["nasbench201"].build("111111", 10).eval()(torch.randn(2, 3, 32, 32))
    assert torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("space", SYMBOLIC)
def test_columns_hold_the_graphs(space: str) -> None:
    chain_of, keys = SPACES[space].chain, SPACES[space].truth().keys[:7]
    assert chain_of is not None
    columns, shape, vocabulary = chain_columns(chain_of(key, 10) for key in keys)
    again = chain_columns(chain_of(key, 10) for key in keys)
    assert vocabulary == again.vocabulary
    assert (columns.edge_src == again.graphs.edge_src).all()
    for key, graph in zip(keys, columns.arch_graphs(shape, vocabulary), strict=True):
        assert_same(chain_graph(chain_of(key, 10)), graph)
        assert chain_graph(chain_of(key, 10)).cell.tolist() == graph.cell.tolist()


def test_cells_are_numbered() -> None:
    graph = chain_graph(nasbench201_chain("222222"))
    assert {int(cell) for cell in graph.cell} == set(range(17))
    for name, cell in zip(graph.name.tolist(), graph.cell.tolist(), strict=True):
        assert not name.startswith("cells.") or name.startswith(f"cells.{cell}.")


def test_blocks_count_layers_that_reach_no_output() -> None:
    builder = BlockBuilder()
    x = builder.conv(builder.input, "a", 4, 3, 3)
    builder.bn(builder.conv(x, "lost", 8, 4, 1), "lost.bn", 8)
    block = builder.block(builder.sum([x, x]))
    assert block.name == ("a.weight",)
    assert block.num_params == 4 * 3 * 9 + 8 * 4 + 2 * 8
    assert block.widened(2).shape.tolist() == [[8, 6, 3, 3]]
    assert block.widened(2).num_params == 4 * (4 * 3 * 9 + 8 * 4) + 2 * 2 * 8


def test_widths_of_nasbench101() -> None:
    # Vertices 1 to 3 share 128 channels; vertex 1 is also read by vertex 2.
    adjacency = "01110" + "00101" + "00001" + "00001" + "00000"
    cell = Cell101.from_digits(adjacency, "04321")
    assert cell.widths(64, 128) == (64, 43, 43, 42, 128)
    # A vertex that leads nowhere is dropped.
    pruned = Cell101.from_digits("0110" + "0000" + "0001" + "0000", "0421")
    assert pruned == Cell101(("input", "maxpool3x3", "output"), ((), (0,), (1,)))


@pytest.mark.parametrize(
    ("space", "key", "sentence"),
    [
        ("nasbench201", "01234", "'01234' is not a cell of NAS-Bench-201, which is six digits from 0 to 4"),
        ("nasbench201", "000005", "is not a cell of NAS-Bench-201"),
        ("nasbench101", "010-01", "is not a cell of NAS-Bench-101"),
        ("nasbench101", "0010-01", "do not lead from an input to an output"),
        ("nasbench101", "0000-01", "does not reach its output"),
        ("nasbench301", "[[(0,0)]]", "is not a genotype of NAS-Bench-301"),
        ("nasbench301", str([[(5, 0)] * 8] * 2), "an edge reads no earlier state"),
        ("nasbench301", str([[(0, 9)] * 8] * 2), "is not a genotype of NAS-Bench-301"),
        ("nasbench_macro", "0000000", "is not a network of NAS-Bench-Macro, which is eight digits from 0 to 2"),
        ("nasbench_macro", "00000003", "is not a network of NAS-Bench-Macro"),
    ],
)
def test_keys_that_are_none(space: str, key: str, sentence: str) -> None:
    chain_of = SPACES[space].chain
    assert chain_of is not None
    with pytest.raises(ValueError, match=sentence):
        chain_of(key, 10)
    with pytest.raises(ValueError, match=sentence):
        SPACES[space].build(key, 10)


def test_unknown_space() -> None:
    with pytest.raises(ValueError, match=r"unknown space 'nasbench'; choose from nasbench101, nasbench201"):
        get_space("nasbench")
    genotype = Genotype301.from_text(SPACES["nasbench301"].truth().keys[0])
    assert len(genotype.normal) == len(genotype.reduce) == 8
