"""Layers that are written by hand, in the spellings of public code: the same graph as that of PyTorch's module."""

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepnets import ArchGraph, TraceError, trace


class Model(nn.Module):
    """Some layers and parameters, and a function of them and the input (B, 8, 4, 4)."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(8, 8, 1, bias=False) for _ in range(3))
        self.w, self.s = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.square = nn.Parameter(torch.zeros(8, 8))
        self.q = nn.Parameter(torch.zeros(5, 8))
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)
        self.register_buffer("mean", torch.zeros(8, 1, 1))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def graph_of(function: Callable[[Any, Tensor], Any]) -> ArchGraph:
    return trace(Model(function), (8, 4, 4))


def labels(graph: ArchGraph) -> list[str]:
    """NAME[READS] of each node."""
    reads: dict[int, list[int]] = {i: [] for i in range(len(graph.op))}
    for source, target in graph.edge_index.T.tolist():
        reads[target].append(source)
    return [f"{name.removesuffix('.weight')}{sorted(reads[i])}" for i, name in enumerate(graph.name.tolist())]


def column(p: Tensor) -> Tensor:
    return p[:, None, None]


def of_convnext(m: Any, x: Tensor) -> Tensor:
    u = x.mean(1, keepdim=True)
    s = (x - u).pow(2).mean(1, keepdim=True)
    x = (x - u) / torch.sqrt(s + 1e-6)
    return column(m.w) * x + column(m.s)


def with_variance(m: Any, x: Tensor) -> Tensor:
    x = (x - x.mean(1, keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-6)
    return x * column(m.w) + column(m.s)


def of_the_annotated_transformer(m: Any, x: Tensor) -> Tensor:
    mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    return column(m.w) * (x - mean) / (std + 1e-6) + column(m.s)


@pytest.mark.parametrize("norm", [of_convnext, with_variance, of_the_annotated_transformer])
def test_layer_norm(norm: Callable[[Any, Tensor], Tensor]) -> None:
    graph = graph_of(lambda m, x: m.b(norm(m, m.a(x))))
    assert labels(graph) == ["input[]", "a[0]", "w[1]", "b[2]"]
    assert graph.report is not None
    assert graph.report.absorbed == {"s": "w"}


def test_differences_of_activations_are_sums() -> None:
    assert labels(graph_of(lambda m, x: m.a(x) - m.b(x))) == ["input[]", "a[0]", "b[0]", "sum[1, 2]"]
    residual = graph_of(lambda m, x: m.b(m.a(x) - nn.functional.avg_pool2d(m.a(x), 3, 1, 1)))
    assert [n.partition("[")[0] for n in labels(residual)].count("sum") == 1


def test_fused_sums_keep_their_branches() -> None:
    flat: Callable[[Tensor], Tensor] = lambda t: t.permute(0, 2, 3, 1).reshape(-1, 8)  # noqa: E731
    graph = graph_of(lambda m, x: torch.addmm(flat(m.a(x)), flat(x), m.square))
    assert labels(graph) == ["input[]", "a[0]", "square[0]", "sum[1, 2]"]
    graph = graph_of(lambda m, x: torch.addcmul(m.a(x), m.b(x), m.c(x)))
    assert sorted(labels(graph)) == sorted(["input[]", "a[0]", "b[0]", "c[0]", "cse[2, 3]", "sum[1, 4]"])
    affine = graph_of(lambda m, x: m.a(torch.addcmul(column(m.s), column(m.w), x)))
    assert (
        labels(affine)
        == labels(graph_of(lambda m, x: m.a(column(m.w) * x + column(m.s))))
        == ["input[]", "s[0]", "a[1]"]
    )
    assert labels(graph_of(lambda m, x: torch.addcmul(m.a(x), column(m.w), m.mean))) == ["input[]", "a[0]", "w[1]"]


@pytest.mark.parametrize("need_weights", [True, False])
def test_learnt_queries_are_no_layers(need_weights: bool) -> None:
    def pooled(m: Any, x: Tensor) -> Tensor:
        tokens = m.a(x).flatten(2).transpose(1, 2)  # (B, 16, 8)
        queries = nn.functional.linear(m.q, m.square)[None].expand(len(x), -1, -1)
        pooled: Tensor = queries + m.mha(queries, tokens, tokens, need_weights=need_weights)[0]
        return pooled

    graph = graph_of(pooled)
    names = [node.partition("[")[0] for node in labels(graph)]
    assert "q" not in names
    assert names.count("msa") == 1
    assert names.count("mha.in_proj_weight") in (1, 2)
    assert names[-2:] == ["mha.out_proj", "mha.out_proj.bias"]
    assert graph.report is not None
    assert set(graph.report.unnamed) >= {"q", "square"}


def test_a_low_rank_update_belongs_to_its_weight() -> None:
    graph = graph_of(lambda m, x: (x.flatten(2).mT @ (m.square + m.q.T @ m.q)).mT)
    assert labels(graph) == ["input[]", "square[0]"]


def test_a_softmax_alone_is_no_attention() -> None:
    graph = graph_of(lambda m, x: m.c(m.a(x).softmax(1) + m.b(x)))
    assert labels(graph) == ["input[]", "a[0]", "b[0]", "sum[1, 2]", "c[3]"]
    assert graph.report is not None
    assert graph.report.notes == ()


def test_inference_mode() -> None:
    def layers(m: Any, x: Tensor) -> Tensor:
        x = nn.functional.layer_norm(m.a(x).permute(0, 2, 3, 1), (8,), m.w, m.s)
        return nn.functional.linear(x, m.square)

    inside = torch.inference_mode()(layers)
    assert labels(graph_of(inside)) == labels(graph_of(layers)) == ["input[]", "a[0]", "w[1]", "square[2]"]
    with torch.inference_mode():
        assert labels(graph_of(layers)) == labels(graph_of(inside))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_numbers_than_float32(dtype: torch.dtype) -> None:
    model = Model(lambda m, x: m.b(m.a(x) + m.mean)).to(dtype)
    assert labels(trace(model, (8, 4, 4))) == ["input[]", "a[0]", "b[1]"]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.a(x.to(m.mean.device)),
        lambda m, x: m.a(x.type_as(m.mean)),
        lambda m, x: m.a(x + torch.zeros(8, 4, 4).to(x.device)),
        lambda m, x: m.a(x.to("cpu")),
    ],
)
def test_models_that_move_tensors(function: Callable[[Any, Tensor], Tensor]) -> None:
    assert labels(graph_of(function)) == ["input[]", "a[0]"]


def test_states_of_recurrent_networks_on_the_device_of_the_input() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            state = torch.zeros(1, len(x), 8).to(x.device)
            output: Tensor = self.lstm(x, (state, state))[0]
            return output

    assert "lstm.weight_ih_l0" in trace(Recurrent(), (5, 8)).name.tolist()


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor | None = None


def test_mappings_and_data_classes() -> None:
    def call(m: Any, x: Tensor) -> Output:
        return Output(m.a(x))

    x = torch.zeros(2, 8, 4, 4)
    assert labels(trace(Model(call), inputs=UserDict(x=x))) == ["input[]", "a[0]"]


def test_what_modules_keep_is_forgotten() -> None:
    class Caching(Model):
        mask: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.mask is None:
                self.mask = torch.ones(8, 1, 1, device=x.device)
                self.register_buffer("late", self.a.weight.sum())
            masked: Tensor = self.a(x) * self.mask
            return masked

    models = Caching(lambda m, x: x), torch.nn.utils.spectral_norm(nn.Conv2d(8, 8, 1))
    for model in models:
        before = [name for module in model.modules() for name in vars(module)]
        trace(model, (8, 4, 4))
        assert [name for module in model.modules() for name in vars(module)] == before
        assert model(torch.zeros(2, 8, 4, 4)).device.type == "cpu"


def test_refusals_name_their_cause() -> None:
    with pytest.raises(TraceError, match="control flow depends on the values of parameters"):
        trace(Model(lambda m, x: m.a(x) / m.w[0].item()), (8, 4, 4), compute=False)
    with pytest.raises(TraceError, match="control flow depends on the values of activations"):
        trace(Model(lambda m, x: m.a(x) / x.sum().item()), (8, 4, 4), compute=False)
    with pytest.raises(TraceError, match="TorchScript runs by itself"):
        trace(torch.jit.trace(nn.Conv2d(8, 8, 1), torch.zeros(1, 8, 4, 4)), (8, 4, 4))
