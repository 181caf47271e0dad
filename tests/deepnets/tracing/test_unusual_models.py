"""Models that bug reports of other tools are about: control flow on values, tokens, recurrence, wrappers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import flex_attention

from deepnets import ArchGraph, TraceError, trace
from deepnets.graphs.primitives import PRIMITIVES


class Model(nn.Module):
    """Some layers, and a function of them and the inputs."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)
        self.function = function
        for name, member in members.items():
            if isinstance(member, Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


A, B = ["a.weight", "a.bias"], ["b.weight", "b.bias"]


def names(graph: ArchGraph) -> list[str]:
    return [str(name) for name in graph.name]


def check_values(m: Any, x: Tensor) -> Any:
    x = m.a(x)
    if torch.isnan(x).any():
        raise ValueError("nan")
    return m.b(x)


def select_boxes(m: Any, x: Tensor) -> Any:
    boxes = m.a(x)
    return m.b(boxes[boxes[..., 0] > 0])


def leave_torch(m: Any, x: Tensor) -> Any:
    x = m.a(x)
    return m.b(x - float(x.detach().cpu().numpy().mean()))


@pytest.mark.parametrize("function", [check_values, select_boxes, leave_torch])
def test_models_that_need_numbers(function: Callable[..., Any]) -> None:
    """They are run on real numbers, and the line that reads activations is noted."""
    graph = trace(Model(function), inputs=torch.rand(4, 8))
    assert names(graph) == ["input", *A, *B]
    assert graph.report is not None
    assert graph.report.complete
    if function is check_values:
        (note,) = graph.report.notes
        assert "the model reads values of activations" in note
        assert f"{__file__}:{check_values.__code__.co_firstlineno + 2}" in note
    with pytest.raises(TraceError):
        trace(Model(function), inputs=torch.rand(4, 8), compute=False)
    with torch.device("meta"):
        model = Model(function)
    assert names(trace(model, (8,))) == ["input", *A, *B]  # small random numbers stand for its parameters


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("compute", [True, False])
def test_autocast_by_the_device_of_the_input(compute: bool, enabled: bool) -> None:
    def call(m: Any, x: Tensor) -> Any:
        with torch.autocast(x.device.type, enabled=enabled):
            return m.b(m.a(x))

    def ask(m: Any, x: Tensor) -> Any:
        assert not torch.is_autocast_enabled(x.device.type)
        return m.b(m.a(x).to(torch.get_autocast_dtype(x.device.type)).to(x.dtype))

    before = torch.autocast.__init__, torch.is_autocast_enabled, torch.get_autocast_dtype
    for function in (call, ask):
        assert names(trace(Model(function), (8,), compute=compute)) == ["input", *A, *B]
    assert (torch.autocast.__init__, torch.is_autocast_enabled, torch.get_autocast_dtype) == before


def test_a_branch_that_decides_about_all_layers_is_refused() -> None:
    def branch(m: Any, x: Tensor) -> Any:
        return m.b(m.a(x)) if x.sum() > 0 else x

    with pytest.raises(TraceError, match=rf"depends on the values of activations \(.*{__file__}:\d+\)"):
        trace(Model(branch), inputs=torch.zeros(2, 8))
    assert names(trace(Model(branch), inputs=torch.ones(2, 8))) == ["input", *A, *B]
    assert names(trace(Model(branch), inputs=torch.zeros(2, 8), compute=True)) == ["input"]


def two_towers(m: Any, image: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    return m.a(image), m.b(m.embed(ids).mean(1))


@pytest.mark.parametrize("swapped", [False, True])
def test_integers_behind_the_first_input_are_inputs(swapped: bool) -> None:
    inputs = [torch.rand(2, 8), torch.randint(0, 50, (2, 5))]
    function = (lambda m, ids, image: two_towers(m, image, ids)) if swapped else two_towers
    graph = trace(Model(function, embed=nn.Embedding(50, 8)), inputs=tuple(inputs[::-1] if swapped else inputs))
    assert names(graph) == ["input", "input", *A, "embed.weight", "glob_avg", *B]
    assert graph.report is not None
    assert (graph.report.complete, graph.report.tables) == (True, ("embed.weight",))


def test_encoder_and_decoder() -> None:
    def call(m: Any, source: Tensor, target: Tensor) -> Any:
        return m.b(m.decoder(m.embed(target), m.encoder(m.embed(source))))

    model = Model(
        call,
        embed=nn.Embedding(50, 8),
        encoder=nn.TransformerEncoderLayer(8, 2, 8, batch_first=True),
        decoder=nn.TransformerDecoderLayer(8, 2, 8, batch_first=True),
    )
    ids = torch.randint(0, 50, (2, 7))
    for target in (ids, ids.clone()):
        graph = trace(model, inputs=(ids, target))
        assert graph.report is not None
        assert {"decoder.self_attn.in_proj_weight", "decoder.self_attn.out_proj.weight"} <= set(names(graph))
        assert names(graph).count("msa") == 3
        assert names(graph).count("input") == 2


@pytest.mark.parametrize("key", ["mask", "kind"])
def test_masks_are_no_branches(key: str) -> None:
    """Integers that activations are masked with make no node, as before; models may look at their values."""

    def call(m: Any, ids: Tensor, mask: Tensor) -> Any:
        assert mask.any()
        x = m.a(m.embed(ids)) * mask[..., None]
        x = torch.where(mask[..., None] > 0, x, torch.zeros(()))
        return m.b(x.sum(1) / mask.sum(1, keepdim=True))

    inputs = torch.randint(0, 50, (2, 5)), torch.ones(2, 5, dtype=torch.long if key == "kind" else torch.int32)
    assert names(trace(Model(call, embed=nn.Embedding(50, 8)), inputs=inputs)) == ["input", "embed.weight", *A, *B]


@pytest.mark.parametrize("table", [nn.Embedding(50, 8), nn.Embedding(50, 8, max_norm=1.0), nn.EmbeddingBag(50, 8)])
def test_embeddings(table: Any) -> None:
    def call(m: Any, ids: Tensor) -> Any:
        x = m.table(ids)
        return m.b(x[:, 0] if x.dim() == 3 else x)

    before = table.weight.detach().clone()
    assert names(trace(Model(call, table=table), inputs=torch.randint(0, 50, (2, 5)))) == ["input", "table.weight", *B]
    assert torch.equal(table.weight, before)


@pytest.mark.parametrize("compute", [None, True])
@pytest.mark.parametrize("steps", [2, 50])
def test_recurrent_layers_have_one_node_for_each_weight(steps: int, compute: bool | None) -> None:
    graph = trace(nn.LSTM(4, 6, batch_first=True, proj_size=3), inputs=torch.rand(2, steps, 4), compute=compute)
    layer = [f"{name}_l0" for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    assert names(graph) == ["input", *layer, "sum", "weight_hr_l0"]
    assert graph.edge_index.T.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [2, 5], [4, 5], [5, 6]]
    both = trace(nn.GRU(4, 5, 2, bidirectional=True, bias=False), inputs=torch.rand(2, steps, 4), compute=compute)
    assert [PRIMITIVES[op] for op in both.op] == ["input", *(["conv", "conv", "sum"] * 2 + ["concat"]) * 2]


def test_packed_sequences() -> None:
    def call(m: Any, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return m.b(m.rnn(packed)[1][-1])

    graph = trace(Model(call, rnn=nn.GRU(4, 8, batch_first=True)), inputs=(torch.rand(2, 7, 4), torch.tensor([5, 7])))
    assert [name.partition(".")[0] for name in names(graph)] == ["input", *["rnn"] * 4, "sum", "b", "b"]
    assert graph.report is not None
    assert graph.report.notes == ()


def test_wrappers_and_scripted_submodules() -> None:
    parallel = trace(nn.DataParallel(nn.Linear(8, 2)), (8,))
    assert names(parallel) == ["input", "module.weight", "module.bias"]
    scripted = nn.Sequential(torch.jit.script(nn.Linear(8, 8)), nn.Linear(8, 2))
    assert names(trace(scripted, (8,))) == ["input", "0.weight", "0.bias", "1.weight", "1.bias"]


def test_constants_that_are_not_dense() -> None:
    graph = trace(
        Model(lambda m, x: m.b(torch.sparse.mm(m.adjacency, m.a(x))), adjacency=torch.eye(5).to_sparse()),
        inputs=torch.rand(5, 8),
    )
    assert names(graph) == ["input", *A, *B]


def test_spectrograms() -> None:
    def call(m: Any, wave: Tensor) -> Any:
        return m.b(torch.stft(wave, 14, window=m.window, return_complex=True).abs().transpose(1, 2).mean(1))

    assert names(trace(Model(call, window=torch.hann_window(14)), (100,))) == ["input", "glob_avg", *B]


def test_mixtures_of_experts() -> None:
    def call(m: Any, x: Tensor) -> Any:
        return m.b(torch._grouped_mm(x, m.w, offs=torch.tensor([2, 4], dtype=torch.int32, device=x.device)))

    model = Model(call, w=nn.Parameter(torch.randn(2, 8, 8)))
    assert names(trace(model, inputs=torch.rand(4, 8))) == ["input", "w", *B]


@pytest.mark.parametrize(("inputs", "taken"), [(torch.ones(2, 8), A), (-torch.ones(2, 8), [])])
def test_conditions(inputs: Tensor, taken: list[str]) -> None:
    def call(m: Any, x: Tensor) -> Any:
        return m.b(torch.cond(x.sum() > 0, m.a, lambda y: y.clone(), (x,)))

    graph = trace(Model(call), inputs=inputs)
    assert names(graph) == ["input", *taken, *B]
    assert graph.report is not None
    assert f"{__file__}:{call.__code__.co_firstlineno + 1}" in graph.report.notes[0]
    with pytest.raises(TraceError, match="depends on the values of activations"):
        trace(Model(call), inputs=inputs, compute=False)


def test_other_higher_order_operators_are_refused() -> None:
    def call(m: Any, x: Tensor) -> Any:
        return m.b(while_loop(lambda y: y.sum() > 0, lambda y: (m.a(y) - 10,), (x,))[0])

    with pytest.raises(TraceError, match="the model calls while_loop, whose functions cannot be recorded"):
        trace(Model(call), inputs=torch.ones(2, 8))


@pytest.mark.parametrize("scores", ["", "bias", "relative"])
def test_flex_attention(scores: str) -> None:
    def call(m: Any, x: Tensor) -> Any:
        q, k, v = m.qkv(x).view(2, 5, 3, 2, 16).permute(2, 0, 3, 1, 4)
        positions = m.a(x[..., :8])
        functions = {
            "": None,
            "bias": lambda score, b, h, i, j: score + m.bias[h, i, j],
            "relative": lambda score, b, h, i, j: score + positions[b, i, j],
        }
        return m.b(flex_attention(q, k, v, score_mod=functions[scores]).transpose(1, 2).reshape(2, 5, 32)[..., :8])

    before = uncompiled()
    graph = trace(Model(call, qkv=nn.Linear(8, 96), bias=nn.Parameter(torch.zeros(2, 5, 5))), (5, 8))
    assert names(graph) == ["input", "qkv.weight", "qkv.bias", *(A if scores == "relative" else []), "msa", *B]
    edges = graph.edge_index.T.tolist()
    assert [2, 3] in edges if scores != "relative" else {(2, 5), (4, 5)} <= {tuple(edge) for edge in edges}
    assert graph.report is not None
    assert (graph.report.unnamed["bias"] == "added to attention scores") == (scores == "bias")
    assert uncompiled() == before


def uncompiled() -> Any:
    return torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG


@pytest.mark.parametrize("compute", [None, True])
@pytest.mark.parametrize(
    "zeros",
    [
        lambda x: torch.zeros(2, 2, 4),
        lambda x: torch.zeros(2, 2, 4, device=x.device),
        lambda x: torch.zeros(2, 2, 4).to(x),
        lambda x: x.new_zeros(2, 8).view(2, 2, 4),
        lambda x: torch.zeros_like(x[:, 0, :4])[:, None].expand(2, 2, 4),
    ],
)
def test_states_of_zeros_are_no_positions(zeros: Callable[[Tensor], Tensor], compute: bool | None) -> None:
    """What multiplies them in the first step of a recurrence adds nothing."""

    def scan(m: Any, x: Tensor) -> Any:
        state = zeros(x)
        for t in range(x.shape[1]):
            state = torch.exp(m.decay) * state + m.a(x[:, t]).view(2, 2, 4)
        return m.b(state.flatten(1))

    graph = trace(Model(scan, decay=nn.Parameter(torch.rand(2, 4))), inputs=torch.rand(2, 2, 8), compute=compute)
    assert names(graph) == ["input", *A, *A, "sum", *B]
    assert graph.report is not None
    assert graph.report.unnamed == {"decay": "a scale on activations"}


@pytest.mark.parametrize("state", [torch.ones, lambda *size, device: torch.zeros(*size, device=device).add_(1)])
def test_constants_times_parameters_are_positions(state: Any) -> None:
    def scan(m: Any, x: Tensor) -> Any:
        return m.b(m.decay * state(2, 8, device=x.device) + m.a(x))

    graph = trace(Model(scan, decay=nn.Parameter(torch.rand(2, 8))), inputs=torch.rand(2, 8))
    assert names(graph) == ["input", *A, "decay", "sum", *B]


@pytest.mark.parametrize("bias", [True, False])
def test_recurrent_cells_from_zeros(bias: bool) -> None:
    def run(m: Any, x: Tensor) -> Any:
        state = torch.zeros(2, 8, device=x.device)
        for t in range(2):
            state = torch.tanh(m.read(x[:, t]) + m.hidden(state))
        return m.b(state)

    layers = {"read": nn.Linear(8, 8, bias=bias), "hidden": nn.Linear(8, 8, bias=bias)}
    graph = trace(Model(run, **layers), inputs=torch.rand(2, 2, 8))
    read, hidden = ([f"{name}.weight", f"{name}.bias"][: 1 + bias] for name in layers)
    assert names(graph) == ["input", *read, *read, *hidden, "sum", *B]


@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_layers(bias: bool) -> None:
    graph = trace(nn.Bilinear(8, 9, 4, bias=bias), inputs=(torch.rand(2, 8), torch.rand(2, 9)))
    assert names(graph) == ["input", "input", "weight", "bias"][: 3 + bias]
    assert graph.edge_index.T.tolist() == [[0, 2], [1, 2], [2, 3]][: 2 + bias]
    assert graph.shape[2].tolist() == [4, 8, 9, 1]  # its fan is 72


def test_learnt_slopes_are_no_layer() -> None:
    graph = trace(nn.Sequential(nn.Linear(8, 8), nn.PReLU(8), nn.Linear(8, 2)), (8,))
    assert names(graph) == ["input", "0.weight", "0.bias", "2.weight", "2.bias"]
    assert graph.report is not None
    assert graph.report.unnamed == {"1.weight": "the slopes of a nonlinearity"}


@pytest.mark.parametrize(
    ("convolution", "size", "pooling"),
    [
        (nn.Conv1d, (3, 16), nn.AvgPool1d),
        (nn.Conv2d, (3, 16, 16), nn.AvgPool2d),
        (nn.Conv3d, (3, 9, 9, 9), nn.AvgPool3d),
    ],
)
def test_local_response_norm_is_transparent(convolution: Any, size: tuple[int, ...], pooling: Any) -> None:
    graph = trace(nn.Sequential(convolution(3, 8, 3), nn.LocalResponseNorm(3), pooling(2)), size)
    assert names(graph) == ["input", "0.weight", "0.bias", "avg_pool"]


def test_values_that_leave_pytorch_are_noted() -> None:
    def call(m: Any, x: Tensor) -> Any:
        x = m.a(x)
        return m.b(x + torch.from_numpy(x.detach().numpy()))

    graph = trace(Model(call), (8,))
    assert graph.report is not None
    (note,) = graph.report.notes
    assert note.startswith("the model takes the values of activations out of PyTorch (numpy")
    assert f"{__file__}:{call.__code__.co_firstlineno + 2}" in note


def test_values_of_integer_inputs_may_leave_pytorch() -> None:
    def call(m: Any, x: Tensor, lengths: Tensor) -> Any:
        assert lengths.tolist() == [1, 2]
        return m.b(m.a(x)[: int(lengths.numpy()[1])])

    graph = trace(Model(call), inputs=(torch.rand(3, 8), torch.tensor([1, 2])), compute=True)
    assert names(graph) == ["input", *A, *B]
    assert graph.report is not None
    assert graph.report.notes == ()


def test_conventions_of_kernels_that_are_not_2d() -> None:
    """A 1-D kernel has width 1, a 3-D kernel loses its depth, and so have transposed ones."""
    for layer, size, shape in (
        (nn.Conv1d(3, 8, 5), (3, 16), [8, 3, 5, 1]),
        (nn.ConvTranspose1d(3, 8, 5), (3, 16), [8, 3, 5, 1]),
        (nn.Conv3d(4, 8, (3, 5, 7), groups=2), (4, 9, 9, 9), [8, 2, 5, 7]),
        (nn.ConvTranspose3d(4, 8, (3, 5, 7), groups=2), (4, 9, 9, 9), [8, 2, 5, 7]),
    ):
        graph = trace(layer, size)
        assert graph.shape[1].tolist() == shape
        assert graph.report is not None
        assert graph.report.complete


def test_deformable_convolutions() -> None:
    def call(m: Any, x: Tensor) -> Any:
        return m.conv(x, m.offset(x))

    layers = {"offset": nn.Conv2d(3, 18, 3, padding=1), "conv": torchvision.ops.DeformConv2d(3, 8, 3, padding=1)}
    graph = trace(Model(call, **layers), inputs=torch.rand(2, 3, 8, 8))
    assert names(graph) == ["input", "offset.weight", "offset.bias", "conv.weight", "conv.bias"]
    assert [0, 3] in graph.edge_index.T.tolist()


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), nn.GroupNorm(2, 8, affine=False), nn.InstanceNorm2d(8)]
)
def test_norms_without_weights_are_transparent(norm: nn.Module) -> None:
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    middle = ["1.weight"] if getattr(norm, "weight", None) is not None else []
    assert names(trace(pooled, 32)) == ["input", "0.weight", "0.bias", *middle, "glob_avg", "5.weight", "5.bias"]


class LayerScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.gamma = nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8), nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x: Tensor) -> Any:
        return self.gamma * self.norm(self.conv(x)).relu()


def test_layer_scale_behind_a_norm_is_no_norm() -> None:
    graph = trace(LayerScale(), 32)
    assert names(graph) == ["input", "conv.weight", "conv.bias"]
    assert graph.report is not None
    assert graph.report.unnamed == {"gamma": "a scale on activations"}


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1)])
def test_shapes_of_norms_written_by_hand(shape: tuple[int, ...]) -> None:
    def norm(m: Any, x: Tensor) -> Any:
        x = x - x.mean(1, keepdim=True)
        return x / torch.sqrt(x.pow(2).mean(1, keepdim=True) + 1e-6) * m.g + m.s

    graph = trace(Model(norm, g=nn.Parameter(torch.ones(shape)), s=nn.Parameter(torch.zeros(shape))), (8, 4, 4))
    assert names(graph) == ["input", "g"]
    assert graph.shape[1].tolist() == [8, 1, 1, 1]


def test_numbers_are_no_layers() -> None:
    def cosine(m: Any, x: Tensor) -> Any:
        x = m.a(x) + m.shift
        return m.b(x / x.norm(dim=-1, keepdim=True) * m.scale)

    model = Model(cosine, scale=nn.Parameter(torch.tensor(10.0)), shift=nn.Parameter(torch.tensor(0.0)))
    graph = trace(model, (8,))
    assert names(graph) == ["input", *A, *B]
    assert graph.report is not None
    assert graph.report.unnamed == {"scale": "a scale on activations", "shift": "a number that is added to activations"}


@pytest.mark.parametrize(("groups", "shape"), [(1, [32, 64, 2, 2]), (4, [32, 16, 2, 2])])
def test_transposed_convolutions(groups: int, shape: list[int]) -> None:
    graph = trace(nn.ConvTranspose2d(64, 32, 2, 2, groups=groups), (64, 8, 8))
    assert graph.shape[1].tolist() == shape


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = [nn.Conv2d(3, 8, 3), nn.Linear(8, 8)], nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.layers[1](self.layers[0](x).mean((2, 3))))


def test_layers_without_parameters_are_reported() -> None:
    graph = trace(Hidden(), 32)
    assert graph.report is not None
    assert not graph.report.complete
    assert graph.report.constant_weights == (
        "a convolution with a weight of shape (8, 3, 3, 3) that is not a parameter",
        "a linear layer with a weight of shape (8, 8) that is not a parameter",
    )
    with pytest.raises(TraceError, match="2 layers have no parameters: a convolution"):
        trace(Hidden(), 32, strict=True)
