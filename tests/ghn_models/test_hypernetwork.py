"""What a GHN does with networks: meta-batches, other classes, shapes, devices, post-processing."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

import ghn_models
from deepnets import Architecture, symbolic_graph, trace
from deepnets.sampling.sampler import sample_networks
from ghn_models import GHN, GHNConfig, batch_statistics
from ghn_models.modules.parameter_fitting import resize, tile, weight_scale, window
from ghn_models.postprocess import correlation_spread
from tests.support.small_ghns import KINDS


def architecture(index: int, split: str = "train") -> Architecture:
    return sample_networks(split, index, index + 1).table[0]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_meta_batch_is_its_networks_one_by_one(kind: str) -> None:
    ghn = GHN(KINDS[kind])
    graphs = [symbolic_graph(architecture(i)) for i in range(4)]
    together = ghn.predict(graphs)
    for graph, values in zip(graphs, together, strict=True):
        alone = ghn.predict([graph])[0]
        assert alone.keys() == values.keys()
        for name, value in alone.items():
            torch.testing.assert_close(values[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_a_network_gets_a_value(kind: str) -> None:
    """In the shapes of the network, with which it runs functionally, and differentiable."""
    ghn, networks = GHN(KINDS[kind]), []
    chosen = [architecture(i) for i in (0, 1, 2)]
    for chose in chosen:
        with torch.device("meta"):
            networks.append(chose.build(num_classes=10, image_size=32))
    predicted = ghn.predict([symbolic_graph(chose) for chose in chosen], networks)
    total = torch.zeros(())
    for network, values in zip(networks, predicted, strict=True):
        assert values.keys() == {name for name, p in network.named_parameters() if name in values}
        buffers = {name: torch.zeros(b.shape, dtype=b.dtype) for name, b in network.named_buffers()}
        unused = {n: torch.zeros(p.shape) for n, p in network.named_parameters() if n not in values}
        logits = functional_call(network, values | unused | buffers, torch.randn(4, 3, 32, 32))
        assert logits.shape == (4, 10)
        total = total + nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3]))
    total.backward()
    unused_modules = {name for name, p in ghn.named_parameters() if p.grad is None}
    assert not unused_modules
    assert all(torch.isfinite(p.grad).all() for p in ghn.parameters() if p.grad is not None)


def test_writing_is_predicting() -> None:
    """`ghn(model)` sets what `predict` returns, also where channels do not divide."""
    ghn = GHN(replace(KINDS["ghn3"], num_classes=1000))
    model = torchvision.models.mobilenet_v3_small()
    graph = trace(model)
    expected = ghn.predict([graph], [model])[0]
    ghn(model)
    assert ghn.kept == ghn.initialize(model) == {}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.data, expected[name].detach())


def test_another_number_of_classes() -> None:
    """The classifier keeps its initialisation, and all else is as if it had the classes of the GHN."""
    ghn = GHN(KINDS["ghn3"])
    own, other = torchvision.models.resnet18(num_classes=10), torchvision.models.resnet18(num_classes=7)
    before = other.fc.weight.detach().clone()
    ghn(own)
    with pytest.warns(UserWarning, match=r"2 of 62 parameters keep their initialization, among them fc\.weight"):
        ghn(other)
    assert set(ghn.kept) == {"fc.weight", "fc.bias"}
    assert ghn.initialize(other) == ghn.kept
    assert "7 outputs" in ghn.kept["fc.weight"]
    assert torch.equal(other.fc.weight, before)
    for (name, a), b in zip(own.named_parameters(), other.parameters(), strict=True):
        assert name.startswith("fc") or torch.equal(a, b)


def test_parameters_off_the_way_to_the_output_are_kept() -> None:
    """Cells may not use one of their inputs; the derivative of the output says which parameters do nothing."""
    networks, found = sample_networks("test", 0, 40), 0
    ghn = GHN(KINDS["ghn3"])
    for i in np.flatnonzero(networks.table.n_cells == networks.table.n_cells.min()):
        architecture = replace(networks.table[int(i)], channels=16)
        model = architecture.build(10, 32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ghn(model, 32, symbolic_graph(architecture, 32, 10))
        model(torch.randn(2, 3, 32, 32)).sum().backward()
        assert ghn.kept.keys() == {name for name, p in model.named_parameters() if p.grad is None}
        assert set(ghn.kept.values()) <= {"does not reach the output"}
        found += len(ghn.kept)
    assert found


def test_a_network_without_memory_is_refused() -> None:
    """It would be said to have its parameters, and have none."""
    with torch.device("meta"):
        model = torchvision.models.resnet18(num_classes=10)
    with pytest.raises(ValueError, match="is on the meta device; use GHN"):
        GHN(KINDS["ghn3"])(model)


class Odd(nn.Module):
    """Norms without a bias, a convolution in 3-D, a class token, and a head before pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 5, 3, padding=1)
        self.norm = nn.LayerNorm(8, bias=False)
        self.scale = nn.Parameter(torch.ones(5, 1, 1))
        self.large = nn.Conv2d(5, 9, (40, 13), padding="same")
        self.head = nn.Conv2d(9, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x[:, :, None]))[:, :, 0] * self.scale
        logits: Tensor = self.head(self.large(y)).mean((2, 3))
        return logits


@pytest.mark.parametrize("kind", KINDS)
def test_odd_parameters(kind: str) -> None:
    ghn, model = GHN(KINDS[kind]), Odd()
    with pytest.warns(UserWarning, match="1 of 8 parameters"):
        ghn(model, input_size=(3, 8, 8))
    assert set(ghn.kept) == {"scale"}
    assert torch.isfinite(model(torch.randn(2, 3, 8, 8))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings(kind: str) -> None:
    ghn = GHN(KINDS[kind])
    graphs = [symbolic_graph(architecture(i)) for i in range(3)]
    nodes, means = ghn.embed(graphs)
    assert [len(x) for x in nodes] == [len(graph) for graph in graphs]
    torch.testing.assert_close(means, torch.stack([x.mean(0) for x in nodes]))


@pytest.mark.parametrize("kind", KINDS)
def test_finite_differences(kind: str) -> None:
    """A step along the gradient of the GHN's parameters changes the loss as the gradient says."""
    torch.manual_seed(0)
    ghn = GHN(KINDS[kind]).double()
    graphs = [symbolic_graph(architecture(i, "val")) for i in (0, 1)]

    def loss() -> Tensor:
        return torch.stack([value.sin().mean() for network in ghn.predict(graphs) for value in network.values()]).sum()

    loss().backward()
    for name, parameter in ghn.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.randn_like(parameter) * parameter.abs().mean()
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.add_(direction, alpha=step)
                values.append(loss().item())
                parameter.sub_(direction, alpha=step)
        slope = (parameter.grad * direction).sum().item()
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(kind: str, dtype: torch.dtype) -> None:
    ghn = GHN(KINDS[kind])
    graphs = [symbolic_graph(architecture(0))]
    exact = ghn.predict(graphs)[0]
    with torch.autocast("cpu", dtype):
        rough = ghn.predict(graphs)[0]
        torch.stack([value.float().square().mean() for value in rough.values()]).sum().backward()
    for name, value in exact.items():
        assert (rough[name].float() - value).norm() < 0.1 * value.norm() + 1e-3, name
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in ghn.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda(kind: str) -> None:
    """The same values and gradients as on the CPU; values arrive in networks wherever these are."""
    torch.backends.cuda.matmul.allow_tf32 = False
    ghn = GHN(KINDS[kind])
    graphs = [symbolic_graph(architecture(i)) for i in range(4)]
    gradients, values = [], []
    for device in ("cpu", "cuda"):
        ghn.to(device).zero_grad()
        predicted = ghn.predict(graphs)
        torch.stack([v.square().mean() for network in predicted for v in network.values()]).sum().backward()
        values.append([v.detach().cpu() for network in predicted for v in network.values()])
        gradients.append([p.grad.cpu().clone() for p in ghn.parameters()])
    torch.testing.assert_close(values[0], values[1], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)
    for device in ("cpu", "cuda"):
        ghn(torchvision.models.resnet18(num_classes=10).to(device))
        assert ghn.kept == {}


@pytest.mark.slow
def test_all_74_torchvision_models() -> None:
    from deepnets.datasets.traced_splits import TORCHVISION74

    torch.manual_seed(0)
    ghn = ghn_models.create("ghn3_t")
    for name in TORCHVISION74:
        model = getattr(torchvision.models, name)()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ghn(model)
        assert all(torch.isfinite(p).all() for p in model.parameters()), name
        numbers = {n: p.numel() for n, p in model.named_parameters()}
        share = 1 - sum(numbers[n] for n in ghn.kept) / sum(numbers.values())
        print(f"{name}: {share:.4%}", *sorted(set(ghn.kept.values())))
        assert share > 0.99, name


def test_shapes_that_no_gradient_sees_are_the_same() -> None:
    """Without gradients decoding goes in parts; a tiny limit makes many of them."""
    ghn, graphs = GHN(KINDS["ghn2"]), [symbolic_graph(architecture(i)) for i in range(2)]
    expected = ghn.predict(graphs)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr("ghn_models.modules.shape_groups._MAX_AT_ONCE", 1000)
        patch.setattr("ghn_models.modules.decoder._MAX_COPIED", 1000)
        parts = ghn.predict(graphs)
    for a, b in zip(expected, parts, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name])


@given(st.integers(1, 40), st.integers(1, 20), st.sampled_from(["corner", "centre"]))
def test_windows(kernel: int, size: int, place: str) -> None:
    part = window(kernel, size, place)
    assert part.start >= 0
    assert part.stop <= size
    assert part.stop - part.start == min(kernel, size)
    if place == "corner":
        assert part.start == 0
    elif size % 2 and kernel % 2:
        assert part.start == size - part.stop


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6))
def test_tiling_repeats(out: int, in_: int, o: int, i: int) -> None:
    o, i = min(o, out), min(i, in_)
    w = torch.randn(2, o, i, 3, 3)
    tiled = tile(w, (out, in_))
    for a in range(out):
        for b in range(in_):
            assert torch.equal(tiled[:, a, b], w[:, a % o, b % i])


def test_large_kernels() -> None:
    w = torch.arange(9.0).view(1, 1, 1, 3, 3)
    assert torch.equal(resize(w, (4, 6), "corner")[0, 0, 0, :, 3:], resize(w, (4, 6), "corner")[0, 0, 0, :, :3])
    linear = torch.linspace(0, 1, 11).expand(1, 1, 1, 11, 11)
    assert (resize(linear, (22, 22), "centre").diff(dim=-1) >= 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((64, 32, 3, 3), 2 / 288), ((64, 1, 5, 5), 1 / 25), ((32, 32, 1, 7), 1 / 224), ((32, 32, 7, 1), 2 / 224)],
)
def test_fan_in(shape: tuple[int, int, int, int], expected: float) -> None:
    """Table 2 of the DeepNets paper."""
    assert weight_scale(shape, "fan_in") ** 2 == pytest.approx(expected)


def test_registry() -> None:
    assert ghn_models.list_models("ghn3_?") == ["ghn3_t", "ghn3_s", "ghn3_l"]
    with pytest.raises(ValueError, match="there is no model 'ghn3_m'; did you mean ghn3"):
        ghn_models.create("ghn3_m")
    with pytest.raises(ValueError, match="image_size is 64; accepted: 32, 224"):
        ghn_models.create("ghn2", image_size=64)
    with pytest.raises(ValueError, match="num_classes is 0; it must be an integer from 1 to 65536"):
        ghn_models.create("ghn2", num_classes=0)


@pytest.mark.parametrize(
    "wrong", [{"decoder": "cnn"}, {"hidden": 30}, {"layers": True}, {"centrality": 1}, {"window": None}]
)
def test_configurations_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        GHNConfig(**wrong)


def test_batch_statistics() -> None:
    """Normalizes by the batch in evaluation mode, and leaves no trace."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with batch_statistics(model):
        out = model(torch.randn(8, 3, 6, 6) * 5 + 3)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(4), rtol=0, atol=0.01)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert model[1].track_running_stats


def test_orthogonal_weights() -> None:
    model = torchvision.models.resnet18(num_classes=10)
    first, last = model.conv1.weight.detach().clone(), model.fc.weight.detach().clone()
    ghn_models.orthogonalize(model, first_layer=1)
    assert torch.equal(model.conv1.weight, first)
    assert torch.equal(model.fc.weight, last)
    for name, weight in model.named_parameters():
        if weight.dim() == 4 and name != "conv1.weight":
            matrix = weight.detach().flatten(1)
            q = matrix if len(matrix) >= matrix.shape[1] else matrix.T
            torch.testing.assert_close(q.T @ q, torch.eye(q.shape[1]), rtol=0, atol=1e-5)


def test_attention_is_processed_too() -> None:
    """Queries, keys and values have one weight together, which belongs to no linear layer."""
    attention = nn.TransformerEncoderLayer(16, 2, 32)
    model = nn.Sequential(attention, nn.Linear(16, 10))
    before = attention.self_attn.in_proj_weight.detach().clone()
    ghn_models.add_noise(model, beta=0.1)
    packed = attention.self_attn.in_proj_weight.detach()
    assert not torch.equal(packed, before)
    ghn_models.orthogonalize(model)
    torch.testing.assert_close(packed.T @ packed, torch.eye(16), rtol=0, atol=1e-5)


def test_noise_follows_correlation() -> None:
    weight = torch.randn(20, 6)
    correlations = torch.corrcoef(weight)
    torch.testing.assert_close(correlation_spread(weight), correlations.std(), rtol=1e-4, atol=1e-6)
    first = nn.Linear(64, 64)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(64, 10))
    before = first.weight.detach().clone()
    spread = correlation_spread(before)
    ghn_models.add_noise(model, beta=0.1, generator=torch.Generator().manual_seed(0))
    assert (first.weight - before).std().item() == pytest.approx(0.1 * spread.item(), rel=0.05)
    with pytest.raises(ValueError, match="beta is -1"):
        ghn_models.add_noise(model, beta=-1)


def test_layers_that_a_network_does_not_have() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 10))
    ghn_models.orthogonalize(model, first_layer=1)
    for first in (2, -1):
        with pytest.raises(ValueError, match=f"the first layer is {first}; the network has 2 before its classifier"):
            ghn_models.orthogonalize(model, first_layer=first)


def test_each_graph_has_a_network() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    graph = trace(network)
    with pytest.raises(ValueError, match="there are 2 networks and 1 graphs; accepted: as many"):
        ghn_models.create("mlp", num_classes=10).predict([graph], [network, network])
