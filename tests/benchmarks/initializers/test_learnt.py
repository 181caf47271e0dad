"""Initialisers do what their papers say, repeat themselves, and refuse what they cannot use."""

import copy
import json
import math
import re
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.core.evaluation_networks import EvaluationNetwork
from benchmarks.initializers import ghn, gradinit, metainit, objectives
from benchmarks.initializers.base import InitContext
from benchmarks.initializers.metainit import gradient_quotient, noise
from benchmarks.initializers.model_help import MODEL_HELP
from benchmarks.initializers.objectives import differentiable
from benchmarks.initializers.registry import METHODS, get_method, load_initializer
from benchmarks.performance.initializer_speed import INITIALIZERS, measured
from benchmarks.records import validation
from benchmarks.scoring.scorer_help import SCORER_HELP
from benchmarks.scoring.zero_cost_proxies import PROXIES
from benchmarks.training.loop import epochs_of
from deepnets.datasets.traced_splits import TORCHVISION74
from ghn_models.images.datasets import ImageTask, load_images
from tests.support.small_networks import applied, chain, init_context

# He


def test_he_keeps_the_signal_of_30_layers(digits: ImageTask) -> None:
    """He et al., section 2.2: with half the variance, or PyTorch's sixth of it, nothing is left after 30 layers."""
    torch.manual_seed(0)
    layers = [nn.Linear(512, 512) for _ in range(30)]
    model, x = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU()))), torch.randn(64, 512)
    assert model(x).square().mean() < 1e-3
    applied("he", model, init_context(digits))
    assert 0.3 < model(x).square().mean() / x.square().mean() < 3
    assert all(not layer.bias.any() for layer in layers)
    deviation = torch.cat([layer.weight.flatten() for layer in layers]).std().item()
    assert deviation == pytest.approx((2 / 512) ** 0.5, rel=1e-2)


def test_he_reaches_all_weights_of_attention(digits: ImageTask) -> None:
    """Queries, keys and values have one weight together, which belongs to no linear layer."""
    model = applied("he", nn.TransformerEncoderLayer(256, 4, 1024), init_context(digits))
    for name, p in model.named_parameters():
        if p.dim() == 2:
            assert p.std().item() == pytest.approx((2 / p.shape[1]) ** 0.5, rel=2e-2), name


# GradInit


def test_gradinit_lowers_its_objective(digits: ImageTask) -> None:
    """The loss after one step of SGD, on images that it did not see; weights keep their direction."""
    model = chain()
    before = copy.deepcopy(model)
    applied("gradinit.200", model, init_context(digits))

    def after_a_step(network: nn.Module) -> float:
        network = copy.deepcopy(network)
        x, y = next(digits.train.batches(256))
        F.cross_entropy(network(x), y).backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        size = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        with torch.no_grad():
            for p, g in zip(network.parameters(), gradients, strict=True):
                p.sub_(0.1 * g / size)
        x, y = next(digits.test.batches(300))
        return F.cross_entropy(network(x), y).item()

    assert after_a_step(model) < after_a_step(before) - 0.05
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        factor = (a.flatten() @ b.flatten()) / b.square().sum()
        torch.testing.assert_close(a, factor * b)
    assert any(not torch.allclose(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_gradinit_shrinks_gradients_that_are_too_large(digits: ImageTask) -> None:
    model = chain()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    x, y = next(digits.train.batches(128))

    def size(network: nn.Module) -> float:
        grads = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
        return torch.stack([g.square().sum() for g in grads]).sum().sqrt().item()

    before = size(model)
    assert before > 10
    assert size(applied("gradinit.60", model, init_context(digits))) < before / 2


@pytest.mark.parametrize(("scale", "above"), [(1.0, False), (2.2, True)])
def test_a_step_of_gradinit_is_that_of_the_paper(scale: float, above: bool, digits: ImageTask) -> None:
    """Algorithm 1: the loss after a step of length 0.1, or the gradient norm where that is above 1.

    The first step of Adam is as long as its learning rate, here 0.1, against the sign of the derivative.
    """
    model = chain()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    before = copy.deepcopy(model)
    halves = epochs_of(digits.train, 64, init_context(digits).seed(), digits.flip)
    (x, y), second, third = next(halves), next(halves), next(halves)

    def loss(weights: dict[str, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = torch.cat([x, other[0]]), torch.cat([y, other[1]])
        return F.cross_entropy(torch.func.functional_call(before, weights, images), labels)

    factors = {name: torch.ones((), requires_grad=True) for name, _ in before.named_parameters()}
    weights = {name: factors[name] * p.detach() for name, p in before.named_parameters()}
    g = torch.autograd.grad(loss(weights, second), list(weights.values()), create_graph=True)
    size = torch.stack([v.square().sum() for v in g]).sum().sqrt()
    assert (1 < size < 3) if above else size < 1
    moved = {name: w - 0.1 * (v / size).detach() for (name, w), v in zip(weights.items(), g, strict=True)}
    derivatives = torch.autograd.grad(size if above else loss(moved, third), list(factors.values()), allow_unused=True)
    applied("gradinit.1", model, init_context(digits))
    for (name, p), d in zip(model.named_parameters(), derivatives, strict=True):
        if d is not None and abs(d) > 1e-6:
            torch.testing.assert_close(p, (1 - 0.1 * d.sign()) * before.get_parameter(name))


def test_factors_of_gradinit_are_bounded() -> None:
    """Their gradients are clipped at 1, weights keep 1% and more of their size, biases may become 0."""
    step = objectives.step_factors
    factors = {name: torch.ones((), requires_grad=True) for name in ("a.weight", "b.weight", "b.bias", "c.bias")}
    value = torch.stack([k * f for k, f in zip((-5, 0.3, 0.2, 3), factors.values(), strict=True)]).sum()
    step(torch.optim.SGD(factors.values(), lr=0.5), factors, value)
    assert [f.item() for f in factors.values()] == pytest.approx([1.5, 0.85, 0.9, 0.5])
    value = torch.stack([9 * f for f in factors.values()]).sum()
    step(torch.optim.SGD(factors.values(), lr=4), factors, value)
    assert [f.item() for f in factors.values()] == pytest.approx([0.01, 0.01, 0, 0])


def test_gradinit_lets_go_of_a_gradient_before_it_looks_at_a_step(
    digits: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a gradient needs to be differentiated is most of the memory, and a step does not differentiate it."""
    module = gradinit
    created: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def gradients(*arguments: object) -> dict[str, Tensor]:
        grads = objectives.gradients(*arguments)  # type: ignore[arg-type]
        created.extend(map(weakref.ref, grads.values()))
        return grads

    def loss(*arguments: object) -> Tensor:
        alive.append(sum(ref() is not None for ref in created))
        return objectives.loss(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_GAMMA", math.inf)
    monkeypatch.setattr(module, "gradients", gradients)
    monkeypatch.setattr(module, "loss", loss)
    applied("gradinit.3", chain(), init_context(digits))
    assert created
    assert alive == [0] * 6


@pytest.mark.parametrize(("name", "images"), [("gradinit.1", 128), ("metainit.1", 16)])
def test_learning_takes_smaller_batches_where_memory_is_short(name: str, images: int, digits: ImageTask) -> None:
    sizes: list[int] = []
    model = chain()
    model[0].register_forward_pre_hook(lambda layer, given: sizes.append(len(given[0])))
    applied(name, model, init_context(digits))
    whole = sizes.copy()
    sizes.clear()
    applied(name, model, replace(init_context(digits), batch_share=1 / 4))
    assert set(whole) == {images}
    assert set(sizes) == {images // 4}


@pytest.mark.parametrize("name", ["gradinit.1", "metainit.1"])
def test_parameters_that_are_not_finite_are_no_result(
    name: str, digits: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("objectives", "metainit"):
        monkeypatch.setattr(sys.modules[f"benchmarks.initializers.{module}"], "_SMALLEST", math.inf)
    with pytest.raises(ValueError, match="learning ended with parameters that are not finite"):
        applied(name, chain(), init_context(digits))


# MetaInit


def test_gradient_quotient_is_that_of_finite_differences(digits: ImageTask) -> None:
    """g - H g is, up to second order, the gradient after a step along it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Tanh(), nn.Linear(6, 10)).double()
    x, y = noise(init_context(digits))
    x = x.double()

    def gradient(network: nn.Module) -> list[Tensor]:
        return list(torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters())))

    g, step = gradient(model), 1e-4
    sides = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, direction in zip(moved.parameters(), g, strict=True):
                p.add_(sign * step * direction)
        sides.append(gradient(moved))
    products = [(a - b) / (2 * step) for a, b in zip(*sides, strict=True)]
    terms = [
        ((v - h) / (v + 1e-5 * torch.where(v >= 0, 1.0, -1.0)) - 1).abs() for v, h in zip(g, products, strict=True)
    ]
    expected = torch.cat([term.flatten() for term in terms]).mean()
    assert gradient_quotient(model, x, y).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("norm", [False, True])
def test_metainit_lowers_its_gradient_quotient(digits: ImageTask, norm: bool) -> None:
    model = chain(norm)
    if not norm:  # weights that are too large, as in the paper's bad initialisations
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(2)
    before = copy.deepcopy(model)
    applied("metainit.40", model, init_context(digits))
    with differentiable(model), differentiable(before):
        values = [
            sum(gradient_quotient(network, *noise(init_context(digits, seed))).item() for seed in range(5))
            for network in (before, model)
        ]
    assert values[1] < 0.9 * values[0]
    for (name, a), b in zip(model.named_parameters(), before.parameters(), strict=True):
        if a.dim() < 2:
            assert torch.equal(a, b), name
        else:
            torch.testing.assert_close(a / a.norm(), b / b.norm())


def test_steps_of_metainit_are_those_of_the_paper(digits: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Algorithm 1: norms change by 0.1 against the sign of their derivative, then by 0.9 of the last change more."""
    lengths = {1: [0.1], 2: [0.1, 0.19], 3: [0.1, 0.19, 0.271]}
    monkeypatch.setattr(metainit, "gradient_quotient", _sum_of_squares)
    for steps, changes in lengths.items():
        model = chain()
        norms = {name: p.norm().item() for name, p in model.named_parameters() if p.dim() >= 2}
        applied(f"metainit.{steps}", model, init_context(digits))
        for name, norm in norms.items():
            assert model.get_parameter(name).norm().item() == pytest.approx(norm - sum(changes), rel=1e-4)


def _sum_of_squares(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """An objective that falls with each norm."""
    return torch.stack([p.square().sum() for p in model.parameters()]).sum()


def test_metainit_refuses_weights_without_a_norm(digits: ImageTask) -> None:
    """Torchvision's Vision Transformers have a classifier of zeros, through which no gradient passes."""
    model = torchvision.models.VisionTransformer(8, 4, 1, 2, 8, 16)
    with pytest.raises(ValueError, match=r"all weights of heads\.head are 0"):
        applied("metainit.1", model, init_context(digits))


# Orthogonal weights


@pytest.mark.parametrize(("beta", "strength"), [(None, 3e-5), (0.0, 0.0), (1e-5, 1e-5)])
@pytest.mark.parametrize("orth_layer", [None, 0])
def test_noise_is_as_the_protocol_says_or_that_of_the_model(
    beta: float | None, strength: float, orth_layer: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    monkeypatch.setattr(ghn, "add_noise", lambda model, beta, layer, generator: results.append(beta))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 10))
    setting = InitContext("", None, None, 32, torch.Generator(), beta)
    ghn.predict_with(Mock(kept={}), orth_layer)(model, setting)
    assert sum(results) == (0.0 if beta is None and orth_layer is None else strength)


def test_ghn_orth_makes_channels_differ() -> None:
    """GHN-orth paper, Figure 2: the standard deviation of the correlations between channels."""
    from ghn_models.postprocess import correlation_spread

    digits, spreads = load_images("digits"), {}
    for name in ("ghn3_t", "ghn3_t_orth"):
        torch.manual_seed(0)
        model = torchvision.models.resnet18(num_classes=10)
        load_initializer(name).apply(model, InitContext("", None, digits, 32, torch.Generator().manual_seed(0), 3e-5))
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        spreads[name] = torch.stack([correlation_spread(layer.weight) for layer in convolutions])
    assert (spreads["ghn3_t_orth"] < spreads["ghn3_t"]).float().mean() > 0.9
    assert spreads["ghn3_t_orth"].mean() < spreads["ghn3_t"].mean() / 2


@pytest.mark.parametrize("name", INITIALIZERS)
def test_speed_is_measured(name: str) -> None:
    seconds, peak = measured(1 / 64, (name, 0))
    assert 0 < seconds < 60
    assert 0.2 < peak < 20


# Trained weights


def save_torch(model: nn.Module, path: Path) -> None:
    torch.save(model.state_dict(), path)


def save_tensors(model: nn.Module, path: Path) -> None:
    save_file(model.state_dict(), path)


@pytest.mark.parametrize(("kind", "save"), [(".pth", save_torch), (".safetensors", save_tensors)])
def test_pretrained_weights(
    digits: ImageTask,
    tmp_path: Path,
    kind: str,
    save: Callable[[nn.Module, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = torchvision.models.squeezenet1_1(num_classes=7)
    other = torchvision.models.resnet18(num_classes=7)
    save(source, tmp_path / f"squeezenet1_1{kind}")
    save(other, tmp_path / f"resnet18-0a1b2c3d{kind}")
    init = load_initializer(f"pretrained:{tmp_path}")
    assert re.fullmatch(r"pretrained-[0-9a-f]{6}", init.name)
    assert init.weights_sha256 is not None
    monkeypatch.chdir(tmp_path)
    assert load_initializer("pretrained:.").name == init.name
    same = torchvision.models.squeezenet1_1(num_classes=7)
    init.apply(same, init_context(digits, name="squeezenet1_1"))
    assert all(map(torch.equal, same.state_dict().values(), source.state_dict().values()))
    tuned = torchvision.models.resnet18(num_classes=10)
    head = tuned.fc.weight.detach().clone()
    init.apply(tuned, init_context(digits, name="resnet18"))
    assert torch.equal(tuned.fc.weight, head)
    assert torch.equal(tuned.conv1.weight, other.conv1.weight)
    assert torch.equal(tuned.bn1.running_mean, other.bn1.running_mean)
    alone = load_initializer(f"pretrained:{tmp_path / f'resnet18-0a1b2c3d{kind}'}")
    assert alone.weights_sha256 != init.weights_sha256
    with pytest.raises(ValueError, match="does not fit vgg11: it has no features"):
        alone.apply(torchvision.models.vgg11(num_classes=7), init_context(digits, name="vgg11"))
    with pytest.raises(ValueError, match=r"there are 0 files with weights of vgg11; there must be one, vgg11.pth"):
        init.apply(same, init_context(digits, name="vgg11"))
    small = EvaluationNetwork("resnet18", 0, "resnet18").build(32, 10)[0]
    with pytest.raises(ValueError, match=r"conv1.weight is \(64, 3, 7, 7\) there and .* need --image-size 224"):
        alone.apply(small, init_context(digits, name="resnet18"))


def test_pretrained_weights_for_other_classes(digits: ImageTask, tmp_path: Path) -> None:
    source = torchvision.models.googlenet(num_classes=7, init_weights=False)
    save_tensors(source, tmp_path / "googlenet.safetensors")
    init = load_initializer(f"pretrained:{tmp_path}")
    model = torchvision.models.googlenet(num_classes=10, init_weights=False)
    heads = [model.fc, model.aux1.fc2, model.aux2.fc2]
    before = [copy.deepcopy(head.weight) for head in heads]
    init.apply(model, init_context(digits, name="googlenet"))
    assert all(torch.equal(head.weight, old) for head, old in zip(heads, before, strict=True))
    assert torch.equal(model.aux1.fc1.weight, source.aux1.fc1.weight)
    assert model.transform_input
    with pytest.raises(ValueError, match="it is for 7 classes, and there are 10"):
        init.apply(model, replace(init_context(digits, name="googlenet"), needs_classifier=True))
    init.apply(source, replace(init_context(digits, name="googlenet"), needs_classifier=True))


def test_weights_of_a_deeper_network_do_not_fit(digits: ImageTask, tmp_path: Path) -> None:
    """Though all that the network has is there, in the same shapes."""
    save_tensors(torchvision.models.resnet34(num_classes=7), tmp_path / "deeper.safetensors")
    model = torchvision.models.resnet18(num_classes=7)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"it has layer1.2.\w+.\w+, and the network does not"):
        applied(f"pretrained:{tmp_path / 'deeper.safetensors'}", model, init_context(digits))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_names_in_the_files_of_densenets(digits: ImageTask, tmp_path: Path) -> None:
    """As torchvision offers them: features.denseblock1.denselayer1.norm.1.weight."""
    source = torchvision.models.densenet121(num_classes=7)
    state = {
        re.sub(r"(norm|conv)([12])", r"\1.\2", k) if "denselayer" in k else k: v for k, v in source.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    save_file(state, tmp_path / "densenet121.safetensors")
    model = applied(
        f"pretrained:{tmp_path}",
        torchvision.models.densenet121(num_classes=7),
        init_context(digits, name="densenet121"),
    )
    assert all(map(torch.equal, model.state_dict().values(), source.state_dict().values()))


def test_names_in_the_files_of_vision_transformers(digits: ImageTask, tmp_path: Path) -> None:
    """As torchvision offers them: encoder.layers.encoder_layer_0.mlp.linear_1.weight; torchvision reads them itself."""

    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model: nn.Module = torchvision.models.VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=7)
        return model

    source, same = network(0), network(1)
    renamed = [("mlp.0.", "mlp.linear_1."), ("mlp.3.", "mlp.linear_2.")]
    state = source.state_dict()
    for new, old in renamed:
        state = {name.replace(new, old): value for name, value in state.items()}
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in state
    save_file(state, tmp_path / "vit.safetensors")
    applied(f"pretrained:{tmp_path / 'vit.safetensors'}", same, init_context(digits, name="vit"))
    assert all(map(torch.equal, same.state_dict().values(), source.state_dict().values()))


def test_files_as_torchvision_downloads_them() -> None:
    """Not all begin with the name of the network: alexnet-owt-7be5be79.pth."""
    urls = {name: next(iter(torchvision.models.get_model_weights(name))).url for name in TORCHVISION74}
    files = {name: Path(url.rpartition("/")[2]) for name, url in urls.items()}
    module = sys.modules["benchmarks.initializers.pretrained"]
    for name, file in files.items():
        assert module._file_of([*files.values()], name) == file


def test_files_that_are_no_weights(digits: ImageTask, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a file of weights"):
        load_initializer(f"pretrained:{tmp_path}")
    model = chain()
    torch.save(model, tmp_path / "whole.pth")  # a pickle that asks for classes
    torch.save({"epoch": 3, "model": model.state_dict()}, tmp_path / "training.pth")
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    for name, message in (
        *(("whole.pth", "no weights that can be read"), ("training.pth", "more than named tensors")),
        *(("damaged.pth", "no weights that can be read"), ("damaged.safetensors", "no weights that can be read")),
    ):
        with pytest.raises(ValueError, match=message):
            applied(f"pretrained:{tmp_path / name}", model, init_context(digits))


# All of them


def test_the_help_names_all_models() -> None:
    names = [line.split("  ")[0] for line in MODEL_HELP.splitlines()]
    assert {*METHODS} <= {*names}
    named = SCORER_HELP.split("    ")[0].replace("\n", " ").split(", ")
    assert [*PROXIES] == ["random", *named]
    assert "\nrandom  " in SCORER_HELP


def test_names() -> None:
    schema = json.loads((Path(validation.__file__).parent / "schema.json").read_text())
    pattern = schema["properties"]["model"]["properties"]["name"]["pattern"]
    for name in (*METHODS, "gradinit.10", "metainit.500"):
        assert re.match(pattern, name)
        assert get_method(name) is not None
        assert load_initializer(name).name == name
    for name in (
        "gradinit.0",
        "gradinit.-1",
        "gradinit.1e3",
        "he.3",
        "metainit.",
        "metainit.007",
        "gradinit.٣",
        "ghn3_t",
    ):
        assert get_method(name) is None
    message = r"there is no model .gradinit\.0.; did you mean gradinit or randinit\? accepted: randinit, he, orth"
    with pytest.raises(ValueError, match=message):
        load_initializer("gradinit.0")


@pytest.mark.parametrize("name", ["he", "orth", "fixup", "gradinit.3", "metainit.3"])
def test_results_depend_on_the_given_random_numbers_alone(digits: ImageTask, name: str) -> None:
    models = []
    for other, seed in ((0, 0), (1, 0), (0, 1)):
        model = chain()
        torch.manual_seed(other)  # of the process
        models.append(applied(name, model, init_context(digits, seed)))
    values = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2]) == (name == "orth")


def test_learning_leaves_the_state_of_the_network(digits: ImageTask) -> None:
    """Modes, statistics of batch norm and gradients are as before."""
    for name in ("gradinit.2", "metainit.2"):
        model = chain(norm=True)
        statistics = copy.deepcopy(dict(model.named_buffers()))
        applied(name, model, init_context(digits))
        assert all(module.training for module in model.modules())
        assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
