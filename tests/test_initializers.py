"""Initialisers do what their papers say, repeat themselves, and refuse what they cannot use."""

import copy
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks import checks
from benchmarks.evaluation import accuracies
from benchmarks.initializers import METHODS, MODELS, Setting, initializer, method
from benchmarks.initializers.fixup import residual_branches
from benchmarks.initializers.metainit import gradient_quotient, noise
from benchmarks.initializers.objectives import differentiable
from benchmarks.networks import Subject
from benchmarks.proxies import PROXIES
from benchmarks.scorers import SCORERS
from benchmarks.sgd import fine_tune
from deepnets import trace
from deepnets.variants import resnet50_bnfree
from ghn_models.images import ImageTask, load_images


@pytest.fixture(scope="module")
def digits() -> ImageTask:
    return load_images("digits", None, 8)


def setting(digits: ImageTask, seed: int = 0, size: int = 8, name: str = "net") -> Setting:
    return Setting(name, None, digits, size, torch.Generator().manual_seed(seed))


def chain(norm: bool = False, layers: int = 4) -> nn.Module:
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU())
        for _ in range(layers)
    ]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.Flatten(), nn.Linear(512, 10))


class Residual(nn.Module):
    """ResNet of the CIFAR kind (He et al., 2016) without batch norm: 2 layers in each block, and two others."""

    def __init__(self, blocks: int, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        conv = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2 * blocks)]
        self.first, self.second = nn.ModuleList(conv[::2]), nn.ModuleList(conv[1::2])
        self.fc = nn.Linear(64 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        for first, second in zip(self.first, self.second, strict=True):
            x = (x + second(first(x).relu())).relu()
        return self.fc(x.flatten(1))


def applied(name: str, model: nn.Module, given: Setting) -> nn.Module:
    initializer(name).apply(model, given)
    return model


# He


def test_he_keeps_the_signal_of_30_layers(digits: ImageTask) -> None:
    """He et al., section 2.2: with half the variance, or PyTorch's sixth of it, nothing is left after 30 layers."""
    torch.manual_seed(0)
    layers = [layer for _ in range(30) for layer in (nn.Linear(512, 512), nn.ReLU())]
    model, x = nn.Sequential(*layers), torch.randn(64, 512)
    assert model(x).square().mean() < 1e-3
    applied("he", model, setting(digits))
    assert 0.3 < model(x).square().mean() / x.square().mean() < 3
    assert all(not layer.bias.any() for layer in layers[::2])
    deviation = torch.cat([layer.weight.flatten() for layer in layers[::2]]).std().item()
    assert deviation == pytest.approx((2 / 512) ** 0.5, rel=1e-2)


# GradInit


def test_gradinit_lowers_its_objective(digits: ImageTask) -> None:
    """The loss after one step of SGD, on images that it did not see; weights keep their direction."""
    model = chain()
    before = copy.deepcopy(model)
    applied("gradinit.200", model, setting(digits))

    def after_a_step(network: nn.Module) -> float:
        network = copy.deepcopy(network)
        x, y = next(digits.train.batches(256))
        F.cross_entropy(network(x), y).backward()
        gradients = [p.grad for p in network.parameters()]
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
        found = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
        return torch.stack([g.square().sum() for g in found]).sum().sqrt().item()

    before = size(model)
    assert before > 10
    assert size(applied("gradinit.60", model, setting(digits))) < before / 2


@pytest.mark.parametrize(("name", "images"), [("gradinit.1", 128), ("metainit.1", 64)])
def test_learning_takes_smaller_batches_where_memory_is_short(name: str, images: int, digits: ImageTask) -> None:
    sizes: list[int] = []
    model = chain()
    model[0].register_forward_pre_hook(lambda layer, given: sizes.append(len(given[0])))
    applied(name, model, setting(digits))
    whole = sizes.copy()
    sizes.clear()
    applied(name, model, replace(setting(digits), batch_share=1 / 4))
    assert set(whole) == {images}
    assert set(sizes) == {images // 4}


@pytest.mark.parametrize("name", ["gradinit.1", "metainit.1"])
def test_parameters_that_are_not_finite_are_no_result(
    name: str, digits: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gradinit", "metainit"):
        monkeypatch.setattr(sys.modules[f"benchmarks.initializers.{module}"], "_SMALLEST", math.inf)
    with pytest.raises(ValueError, match="learning ended with parameters that are not finite"):
        applied(name, chain(), setting(digits))


# MetaInit


def test_gradient_quotient_is_that_of_finite_differences(digits: ImageTask) -> None:
    """g - H g is, up to second order, the gradient after a step along it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Tanh(), nn.Linear(6, 10)).double()
    x, y = noise(setting(digits))
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
    applied("metainit.40", model, setting(digits))
    with differentiable(model), differentiable(before):
        values = [
            sum(gradient_quotient(network, *noise(setting(digits, seed))).item() for seed in range(5))
            for network in (before, model)
        ]
    assert values[1] < 0.9 * values[0]
    for (name, a), b in zip(model.named_parameters(), before.parameters(), strict=True):
        if a.dim() < 2:
            assert torch.equal(a, b), name
        else:
            torch.testing.assert_close(a / a.norm(), b / b.norm())


# FixUp


def test_fixup_follows_its_rules(digits: ImageTask) -> None:
    """ResNet-50: 16 branches of 3 layers, so weights within them shrink by 16^(-1/4) = 1/2."""
    model = applied("fixup", resnet50_bnfree(10), setting(digits, size=32))
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if name.endswith("conv3"):
            assert not module.weight.any()
            assert module.fixup_scale.shape == (1,)
            continue
        fan = max(module.weight[0].numel(), module.weight.shape[0] * module.weight[0, 0].numel())
        expected = (2 / fan) ** 0.5 * (0.5 if name.endswith(("conv1", "conv2")) and "layer" in name else 1)
        assert module.weight.std().item() == pytest.approx(expected, rel=0.05), name
        assert not hasattr(module, "fixup_scale")
    x = next(digits.test.batches(2))[0]
    assert not model(x).any()
    assert not model.fc.weight.any()
    own = {name: p for name, p in model.named_parameters() if "fixup" in name}
    assert len(own) == 53 + 1 + 16 + 53  # before each layer, behind those without a bias, at the end of branches


def test_branches_of_known_networks() -> None:
    expected = {"resnet18": (8, {2}), "resnet50": (16, {3}), "vit_b_16": (24, {2}), "convnext_tiny": (18, {3})}
    for name, (count, lengths) in expected.items():
        with torch.device("meta"):
            branches = residual_branches(trace(getattr(torchvision.models, name)()))
        assert (len(branches), set(map(len, branches))) == (count, lengths)


def test_fixup_keeps_the_signal_of_networks_without_batch_norm() -> None:
    """What reaches the classifier, where default initialisation loses it or He explodes."""
    digits = load_images("digits")
    x = next(digits.test.batches(4))[0]
    for index in (8, 16):
        sizes = {}
        for name in ("randinit", "fixup"):
            torch.manual_seed(0)
            model, graph = Subject("bnfree", index, "").build(32, 10)
            initializer(name).apply(model, Setting("", graph, digits, 32, torch.Generator().manual_seed(0)))
            last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
            seen: list[float] = []
            last.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0].std().item()))
            with torch.no_grad():
                model.eval()(x)
            sizes[name] = seen[0]
        assert sizes["randinit"] < 1e-4
        assert 0.05 < sizes["fixup"] < 50


def test_fixup_trains_50_layers(digits: ImageTask) -> None:
    """Section 4.2: at a learning rate of 0.1, which He's initialisation, the usual one of ResNets, does not survive."""
    losses: dict[str, list[float]] = {"fixup": [], "he": []}
    for name, values in losses.items():
        model = applied(name, Residual(24), setting(digits))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for epoch in range(3):
            for x, y in digits.train.shuffled(64, 0, epoch):
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                values.append(loss.item())
    chance = math.log(10)
    assert losses["fixup"][0] == pytest.approx(chance)
    assert sum(losses["fixup"][-10:]) / 10 < 0.5 * chance
    assert not sum(losses["he"][-10:]) / 10 < 0.9 * chance  # not a number


def test_scalars_of_fixup_are_trained_and_copied(digits: ImageTask) -> None:
    model = applied("fixup", Residual(2), setting(digits))
    twin = copy.deepcopy(model)
    fine_tune(twin, digits.train, 1, 64, 0.05, 0.0, seed=0, flip=False)
    moved = [name for (name, a), b in zip(model.named_parameters(), twin.parameters(), strict=True) if not a.equal(b)]
    assert any("fixup_scale" in name for name in moved)
    assert any("fixup_before" in name for name in moved)
    x = next(digits.test.batches(4))[0]
    assert not model(x).any()
    assert twin(x).any()


def test_evaluation_sees_the_scalars() -> None:
    """Zeros are equal channels, but those that scalars make different must not be computed once."""
    digits = load_images("digits")
    model, graph = Subject("bnfree", 2, "").build(32, 10)
    initializer("fixup").apply(model, Setting("", graph, digits, 32, torch.Generator().manual_seed(0)))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "fixup" in name or "classifier" in name:
                p.add_(0.1 * torch.randn(p.shape))
    x, y = next(digits.test.batches(8))
    with torch.no_grad():
        expected = (copy.deepcopy(model).eval()(x).argmax(1) == y).float().mean().item()
    assert accuracies(model, [(x, y)])[0] == expected


def test_fixup_refuses_batch_norm(digits: ImageTask) -> None:
    with pytest.raises(ValueError, match="FixUp is for networks without batch norm, and this one has 4"):
        applied("fixup", chain(norm=True), setting(digits))


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_fixup_refuses_attention_in_one_function(name: str, digits: ImageTask) -> None:
    model, graph = Subject(name, 0, name).build(32, 10)
    with pytest.raises(ValueError, match="attention of this network is a single function"):
        initializer("fixup").apply(model, Setting(name, graph, digits, 32, torch.Generator()))


@pytest.mark.slow
def test_fixup_trains_resnet50_without_batch_norm() -> None:
    """That of torchvision, in 144 steps. At 0.1, the paper's learning rate, it is lost after 115 steps of this kind."""
    digits = load_images("digits", None, 16)
    model = applied("fixup", resnet50_bnfree(10), setting(digits, size=16))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    for epoch in range(8):
        for x, y in digits.train.shuffled(64, 0, epoch):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert accuracies(model, digits.test.batches())[0] > 0.5


# Orthogonal weights


def test_ghn_orth_makes_channels_differ() -> None:
    """GHN-orth paper, Figure 2: the standard deviation of the correlations between channels."""
    from ghn_models.postprocess import correlation_spread

    digits, spreads = load_images("digits"), {}
    for name in ("ghn3_t", "ghn3_t_orth"):
        torch.manual_seed(0)
        model = torchvision.models.resnet18(num_classes=10)
        initializer(name).apply(model, Setting("", None, digits, 32, torch.Generator().manual_seed(0), 3e-5))
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        spreads[name] = torch.stack([correlation_spread(layer.weight) for layer in convolutions])
    assert (spreads["ghn3_t_orth"] < spreads["ghn3_t"]).float().mean() > 0.9
    assert spreads["ghn3_t_orth"].mean() < spreads["ghn3_t"].mean() / 2


# Trained weights


def save_torch(model: nn.Module, path: Path) -> None:
    torch.save(model.state_dict(), path)


def save_tensors(model: nn.Module, path: Path) -> None:
    save_file(model.state_dict(), path)


@pytest.mark.parametrize(("kind", "save"), [(".pth", save_torch), (".safetensors", save_tensors)])
def test_pretrained_weights(
    digits: ImageTask, tmp_path: Path, kind: str, save: Callable[[nn.Module, Path], None]
) -> None:
    source = torchvision.models.squeezenet1_1(num_classes=7)
    other = torchvision.models.resnet18(num_classes=7)
    save(source, tmp_path / f"squeezenet1_1{kind}")
    save(other, tmp_path / f"resnet18-0a1b2c3d{kind}")
    init = initializer(f"pretrained:{tmp_path}")
    assert re.fullmatch(r"pretrained-[0-9a-f]{6}", init.name)
    assert init.weights_sha256 is not None
    same = torchvision.models.squeezenet1_1(num_classes=7)
    init.apply(same, setting(digits, name="squeezenet1_1"))
    assert all(map(torch.equal, same.state_dict().values(), source.state_dict().values()))
    tuned = torchvision.models.resnet18(num_classes=10)
    head = tuned.fc.weight.detach().clone()
    init.apply(tuned, setting(digits, name="resnet18"))
    assert torch.equal(tuned.fc.weight, head)
    assert torch.equal(tuned.conv1.weight, other.conv1.weight)
    assert torch.equal(tuned.bn1.running_mean, other.bn1.running_mean)
    alone = initializer(f"pretrained:{tmp_path / f'resnet18-0a1b2c3d{kind}'}")
    assert alone.weights_sha256 != init.weights_sha256
    with pytest.raises(ValueError, match="does not fit vgg11: it has no features"):
        alone.apply(torchvision.models.vgg11(num_classes=7), setting(digits, name="vgg11"))
    with pytest.raises(ValueError, match=r"there are 0 files with weights of vgg11; there must be one, vgg11.pth"):
        init.apply(same, setting(digits, name="vgg11"))
    small = Subject("resnet18", 0, "resnet18").build(32, 10)[0]
    with pytest.raises(ValueError, match=r"conv1.weight is \(64, 3, 7, 7\) there and .* need --image-size 224"):
        alone.apply(small, setting(digits, name="resnet18"))


def test_pretrained_weights_for_other_classes(digits: ImageTask, tmp_path: Path) -> None:
    source = torchvision.models.googlenet(num_classes=7, init_weights=False)
    save_tensors(source, tmp_path / "googlenet.safetensors")
    init = initializer(f"pretrained:{tmp_path}")
    model = torchvision.models.googlenet(num_classes=10, init_weights=False)
    heads = [model.fc, model.aux1.fc2, model.aux2.fc2]
    before = [copy.deepcopy(head.weight) for head in heads]
    init.apply(model, setting(digits, name="googlenet"))
    assert all(torch.equal(head.weight, old) for head, old in zip(heads, before, strict=True))
    assert torch.equal(model.aux1.fc1.weight, source.aux1.fc1.weight)
    assert model.transform_input
    with pytest.raises(ValueError, match="it is for 7 classes, and there are 10"):
        init.apply(model, replace(setting(digits, name="googlenet"), needs_classifier=True))
    init.apply(source, replace(setting(digits, name="googlenet"), needs_classifier=True))


def test_files_that_are_no_weights(digits: ImageTask, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a file of weights"):
        initializer(f"pretrained:{tmp_path}")
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
            applied(f"pretrained:{tmp_path / name}", model, setting(digits))


# All of them


def test_the_help_names_all_models() -> None:
    names = [line.split("  ")[0] for line in MODELS.splitlines()]
    assert {*METHODS} <= {*names}
    assert [*PROXIES] == SCORERS.splitlines()[0].split("    ")[0].split(", ")


def test_names() -> None:
    schema = json.loads((Path(checks.__file__).parent / "schema.json").read_text())
    pattern = schema["properties"]["model"]["properties"]["name"]["pattern"]
    for name in (*METHODS, "gradinit.10", "metainit.500"):
        assert re.match(pattern, name)
        assert method(name) is not None
        assert initializer(name).name == name
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
        assert method(name) is None
    with pytest.raises(ValueError, match=r"there is no model .gradinit\.0.; accepted: randinit, he, orth"):
        initializer("gradinit.0")


@pytest.mark.parametrize("name", ["he", "orth", "fixup", "gradinit.3", "metainit.3"])
def test_results_depend_on_the_given_random_numbers_alone(digits: ImageTask, name: str) -> None:
    models = []
    for other, seed in ((0, 0), (1, 0), (0, 1)):
        model = chain()
        torch.manual_seed(other)  # of the process
        models.append(applied(name, model, setting(digits, seed)))
    values = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2]) == (name == "orth")


def test_learning_leaves_the_state_of_the_network(digits: ImageTask) -> None:
    """Modes, statistics of batch norm and gradients are as before."""
    for name in ("gradinit.2", "metainit.2"):
        model = chain(norm=True)
        statistics = copy.deepcopy(dict(model.named_buffers()))
        applied(name, model, setting(digits))
        assert all(module.training for module in model.modules())
        assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
