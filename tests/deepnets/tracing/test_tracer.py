"""Traced graphs against symbolic graphs, the reference implementation's graphs, and hand-made networks."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from deepnets import ArchGraph, TraceError, symbolic_graph, trace
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS
from tests.support.paths import GOLDEN as REFERENCE

GOLDEN = json.loads(gzip.decompress((REFERENCE / "torchvision74_graphs.json.gz").read_bytes()))["graphs"]

# The reference puts the pooling of SqueezeNet before its last convolution; the network pools behind it.
WRONG_REFERENCE = ("squeezenet1_0", "squeezenet1_1")

QUICK = ("alexnet", "convnext_tiny", "densenet121", "googlenet", "mobilenet_v3_large", "shufflenet_v2_x1_0", "vit_b_16")


def labels(graph: nx.DiGraph) -> dict[int, str]:
    return dict(graph.nodes(data="label"))


def labelled(graph: ArchGraph) -> nx.DiGraph:
    result: nx.DiGraph = graph.to_networkx()
    for _, node in result.nodes(data=True):
        node["label"] = str((node["op"], node["name"], node["shape"]))
    return result


def assert_same_graph(a: nx.DiGraph, b: nx.DiGraph) -> None:
    assert Counter(labels(a).values()) == Counter(labels(b).values())
    assert a.number_of_edges() == b.number_of_edges()
    rounds = min(max(a.number_of_nodes() // 4, 5), 12)  # far enough for names to tell all nodes apart
    assert node_hashes(a, rounds) == node_hashes(b, rounds)


def node_hashes(graph: nx.DiGraph, rounds: int) -> list[int]:
    """Return the Weisfeiler-Lehman hashes of all nodes, by their labels and their neighbors in either direction."""
    hashes = {node: hash(label) for node, label in labels(graph).items()}
    for _ in range(rounds):
        around = {
            node: [sorted(hashes[other] for other in others[node]) for others in (graph.pred, graph.succ)]
            for node in graph
        }
        hashes = {node: hash((hashes[node], *map(tuple, around[node]))) for node in graph}
    return sorted(hashes.values())


def check_split(split: str, count: int, seed: int) -> None:
    table = sample_networks(split, 0, count, seed).table
    for row in range(count):
        for image_size in (32, 224):
            with torch.device("meta"):
                network = table[row].build(10, image_size)
            graph = trace(network)
            assert graph.report is not None
            assert graph.report.complete or set(graph.report.unnamed.values()) <= {
                "not used when the model is called",
                "does not reach the output",
            }
            assert_same_graph(labelled(graph), labelled(symbolic_graph(table[row], image_size)))
            assert sum(p.numel() for p in network.parameters()) == table[row].num_params(image_size)


@pytest.mark.parametrize("split", SPLITS)
def test_traced_networks_equal_symbolic_graphs(split: str) -> None:
    check_split(split, count=4 if split in ("deep", "dense") else 8, seed=21)


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_many_traced_networks_equal_symbolic_graphs(split: str) -> None:
    check_split(split, count=125, seed=22)


def torchvision_model(name: str) -> nn.Module:
    constructor: Callable[[], nn.Module] = getattr(torchvision.models, name)
    try:
        with torch.device("meta"):
            return constructor()
    except (RuntimeError, NotImplementedError):  # some compute their widths with tensors
        return constructor()


def reference_graph(name: str) -> nx.DiGraph:
    golden = GOLDEN[name]
    graph = nx.DiGraph()
    for node, (op, parameter) in enumerate(zip(golden["ops"], golden["node_params"], strict=True)):
        called, shape = parameter or (PRIMITIVES[op], None)
        full = (0, 0, 0, 0) if shape is None else (*shape, 1, 1, 1)[:4]
        graph.add_node(node, label=str((PRIMITIVES[op], called, full)))
    graph.add_edges_from(zip(golden["edges"][::2], golden["edges"][1::2], strict=True))
    return graph


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(GOLDEN)]
)
def test_torchvision_models_equal_the_reference(name: str) -> None:
    graph = trace(torchvision_model(name))
    if name in WRONG_REFERENCE:
        names = graph.name.tolist()
        pool = names.index("glob_avg")
        assert [names[i] for i in graph.edge_index[0][graph.edge_index[1] == pool]] == ["classifier.1.bias"]
    else:
        assert_same_graph(labelled(graph), reference_graph(name))


def shape_of(graph: ArchGraph) -> list[str]:
    """The graph as `primitive(reads)` in order."""
    reads: dict[int, list[int]] = {n: [] for n in range(len(graph))}
    for source, target in graph.edge_index.T.tolist():
        reads[target].append(source)
    return [f"{PRIMITIVES[op]}{reads[n]}" for n, op in enumerate(graph.op)]


class HandWrittenAttention(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.qkv, self.out, self.how = nn.Linear(16, 48), nn.Linear(16, 16), how

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        if self.how == "fused":
            y = F.scaled_dot_product_attention(q, k, v)
        elif self.how == "einsum":
            y = torch.einsum("bhts,bhsd->bhtd", torch.einsum("bhtd,bhsd->bhts", q, k).softmax(-1), v)
        else:
            y = (q @ k.mT / 8**0.5).softmax(-1) @ v
        output: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return output


@pytest.mark.parametrize("how", ["fused", "einsum", "matmul"])
def test_attention_is_one_node_however_it_is_written(how: str) -> None:
    graph = trace(HandWrittenAttention(how), inputs=torch.zeros(2, 5, 16))
    assert shape_of(graph) == ["input[]", "conv[0]", "bias[1]", "msa[2]", "conv[3]", "bias[4]"]


@pytest.mark.parametrize("training", [True, False])
def test_multihead_attention_module(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).train(training)
    graph = trace(layer, inputs=torch.zeros(2, 5, 16))
    assert shape_of(graph)[:7] == ["input[]", "conv[0]", "bias[1]", "msa[2]", "conv[3]", "bias[4]", "sum[0, 5]"]
    assert graph.report.complete
    assert "norm1.bias" in graph.report.absorbed


class Everything(nn.Module):
    """Parameters outside of modules, branches, two inputs and outputs, in-place writes, tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, 8, 6, 6))
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.squeeze, self.excite = nn.Linear(8, 2), nn.Linear(2, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.head, self.again = nn.Linear(8, 8), nn.Linear(8, 8)
        self.again.weight = self.head.weight
        self.idle = nn.Linear(1, 1)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        x = self.conv(x) + self.position
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        x = x * gate[..., None, None] * self.scale
        both = torch.zeros(2, 16, 6, 6)
        both[:, :8] = x
        x += F.avg_pool2d(y, 3, 1, 1)
        tokens = torch.cat([self.token.expand(2, -1, -1), x.flatten(2).mT], 1)
        return {"logits": self.head(tokens[:, 0]), "other": self.again(tokens.mean(1)), "both": both}


def test_everything_that_a_module_can_do() -> None:
    graph = trace(Everything(), inputs=(torch.zeros(2, 3, 6, 6), torch.zeros(2, 8, 6, 6)))
    assert shape_of(graph) == [
        *("input[]", "input[]", "conv[0]", "bias[2]", "pos_enc[]", "sum[3, 4]"),
        *("conv[5]", "bias[6]", "conv[7]", "bias[8]", "cse[5, 9]"),
        *("avg_pool[1]", "sum[10, 11]"),
        *("conv[12]", "bias[13]", "glob_avg[12]", "conv[15]", "bias[16]"),
    ]
    assert graph.report.unnamed == {
        "scale": "a scale on activations",
        "token": "a token concatenated with activations",
        "idle.weight": "not used when the model is called",
        "idle.bias": "not used when the model is called",
    }
    assert any("head.weight is used several times" in note for note in graph.report.notes)
    with pytest.raises(TraceError, match=r"4 parameters have no node: scale \(a scale on activations\)"):
        trace(Everything(), inputs=(torch.zeros(2, 3, 6, 6), torch.zeros(2, 8, 6, 6)), strict=True)


class SideBranch(nn.Module):
    """Computes what nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.side, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        self.norm(self.side(x))
        maps: Tensor = self.conv(x)
        return maps


def test_what_does_not_reach_the_output() -> None:
    """The bias of a norm layer too, which belongs to the node of its weight."""
    report = trace(SideBranch(), inputs=torch.zeros(2, 3, 6, 6)).report
    names = ("side.weight", "side.bias", "norm.weight", "norm.bias")
    assert report.unnamed == dict.fromkeys(names, "does not reach the output")


class Buffered(nn.Module):
    """Collects activations in a buffer that it makes, on whatever device."""

    def __init__(self, follow: bool) -> None:
        super().__init__()
        self.linear, self.head, self.follow = nn.Linear(4, 4), nn.Linear(8, 2), follow

    def forward(self, x: Tensor) -> Tensor:
        buffer = torch.zeros(2, 8, device=x.device if self.follow else None)
        buffer[:, :4] = self.linear(x)
        logits: Tensor = self.head(buffer)
        return logits


@pytest.mark.parametrize("follow", [True, False])
def test_writing_into_a_buffer(follow: bool) -> None:
    graph = trace(Buffered(follow), inputs=torch.zeros(2, 4))
    assert shape_of(graph) == ["input[]", "conv[0]", "bias[1]", "conv[2]", "bias[3]"]


class Steps(nn.Module):
    """A recurrence written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(2, 4), torch.zeros(2, 4)
        for step in x.unbind(1):
            state = self.cell(step, state)
        return state[0]


def test_a_recurrence_written_by_hand_is_unrolled() -> None:
    graph = trace(Steps(), inputs=torch.zeros(2, 3, 4))
    assert {"cell.weight_ih", "cell.weight_hh"} <= set(graph.name.tolist())
    assert graph.report.complete
    assert any("cell.weight_hh is used several times" in note for note in graph.report.notes)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace(model, 32)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert torch.backends.mha.get_fastpath_enabled()


class Exiting(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, input: Tensor) -> Tensor:
        raise SystemExit(3)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.ReLU(), {}, "ReLU has no parameters"),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(7, 2)),
            {},
            r"Sequential fails on inputs of shape \(2, 1, 224, 224\).*give the size it expects",
        ),
        (nn.Bilinear(4, 4, 2), {"inputs": torch.zeros(2, 4)}, "Bilinear fails on inputs"),
        (Branching(), {"inputs": torch.zeros(2, 4)}, "control flow depends on the values of activations"),
        (nn.LazyLinear(3), {}, "has no shape yet"),
        (nn.Conv2d(3, 4, 3), {"input_size": 0}, "sizes must be 1 or more"),
        (nn.Conv2d(3, 4, 3), {"input_size": 10**10}, "larger than any tensor can be"),
        (Exiting(), {}, r"Exiting fails on inputs of shape \(2, 4\) \(3\)"),
    ],
)
def test_models_that_cannot_be_traced(model: nn.Module, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        trace(model, **options)
