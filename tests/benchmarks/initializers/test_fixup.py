"""FixUp follows its rules, trains deep networks without batch norm, and refuses others."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig

from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.evaluation_networks import EvaluationNetwork
from benchmarks.initializers.base import InitContext
from benchmarks.initializers.fixup import residual_branches
from benchmarks.initializers.registry import load_initializer
from benchmarks.training.optimizers import make_optimizer, set_lr
from deepnets import trace
from deepnets.networks.torchvision_variants import resnet50_bnfree
from ghn_models.images.datasets import ImageTask, load_images
from tests.support.small_networks import applied, chain, init_context
from tests.support.training import trained


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
        logits: Tensor = self.fc(x.flatten(1))
        return logits


def test_fixup_follows_its_rules(digits: ImageTask) -> None:
    """ResNet-50: 16 branches of 3 layers, so weights within them shrink by 16^(-1/4) = 1/2."""
    model = applied("fixup", resnet50_bnfree(10), init_context(digits, size=32))
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
    assert not model.get_parameter("fc.weight").any()
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
            model, graph = EvaluationNetwork("bnfree", index, f"bnfree/{index}").build(32, 10)
            load_initializer(name).apply(model, InitContext("", graph, digits, 32, torch.Generator().manual_seed(0)))
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
        model = applied(name, Residual(24), init_context(digits))
        sgd = make_optimizer(model, 0.1, weight_decay=0.0)
        for epoch in range(3):
            for x, y in digits.train.shuffled(64, 0, epoch):
                loss = F.cross_entropy(model(x), y)
                sgd.zero_grad()
                loss.backward()
                sgd.step()
                values.append(loss.item())
    chance = math.log(10)
    assert losses["fixup"][0] == pytest.approx(chance)
    assert sum(losses["fixup"][-10:]) / 10 < 0.5 * chance
    assert not sum(losses["he"][-10:]) / 10 < 0.9 * chance  # not a number


def test_scalars_of_fixup_are_trained_and_copied(digits: ImageTask) -> None:
    model = applied("fixup", Residual(2), init_context(digits))
    twin = copy.deepcopy(model)
    trained(twin, digits.train, 1, 64, 0.05)
    moved = [name for (name, a), b in zip(model.named_parameters(), twin.parameters(), strict=True) if not a.equal(b)]
    assert any("fixup_scale" in name for name in moved)
    assert any("fixup_before" in name for name in moved)
    assert any("fixup_after" in name for name in moved)
    x = next(digits.test.batches(4))[0]
    assert not model(x).any()
    assert twin(x).any()


def test_scalars_learn_and_decay_ten_times_as_slowly() -> None:
    """Section 4 of the authors' code: a tenth of the learning rate, which weight decay is multiplied with too."""
    model = nn.Module()
    weight, scale = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    model.register_parameter("weight", weight)
    model.register_parameter("fixup_scale", scale)
    sgd = make_optimizer(model, 0.1, weight_decay=0.01)
    for p in model.parameters():
        p.grad = torch.ones(1)
    sgd.step()
    assert weight.item() == pytest.approx(1 - 0.1 * 1.01)
    assert scale.item() == pytest.approx(1 - 0.01 * 1.01)
    set_lr(sgd, 0.0)
    sgd.step()
    assert weight.item() == pytest.approx(1 - 0.1 * 1.01)


def convnext() -> nn.Module:
    model: nn.Module = torchvision.models.ConvNeXt([CNBlockConfig(16, None, 2)], num_classes=10)
    return model


def squeezenet() -> nn.Module:
    model: nn.Module = torchvision.models.squeezenet1_1(num_classes=10)
    return model


@pytest.mark.parametrize(("build", "inner"), [(squeezenet, "features.3.squeeze"), (convnext, "block.0")])
def test_gradients_reach_layers_within(build: Callable[[], nn.Module], inner: str) -> None:
    """From the third step on, though SqueezeNet has ReLU behind its classifier, and ConvNeXt scales of 1e-6."""
    digits = load_images("digits")
    torch.manual_seed(0)
    model = applied("fixup", build(), init_context(digits, size=32))
    x, y = next(digits.train.batches(16))
    for _ in range(3):
        model.zero_grad()
        F.cross_entropy(model.eval()(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p.sub_(0.1 * p.grad)
    gradients = [p.grad for n, p in model.named_parameters() if inner in n and n.endswith("weight")]
    assert gradients
    assert all(gradient is not None and gradient.norm().item() > 1e-8 for gradient in gradients)


def test_evaluation_sees_the_scalars() -> None:
    """Zeros are equal channels, but those that scalars make different must not be computed once."""
    digits = load_images("digits")
    model, graph = EvaluationNetwork("bnfree", 2, "bnfree/2").build(32, 10)
    load_initializer("fixup").apply(model, InitContext("", graph, digits, 32, torch.Generator().manual_seed(0)))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "fixup" in name or "classifier" in name:
                p.add_(0.1 * torch.randn(p.shape))
    x, y = next(digits.test.batches(8))
    with torch.no_grad():
        expected = (copy.deepcopy(model).eval()(x).argmax(1) == y).float().mean().item()
    assert topk_accuracy(model, [(x, y)])[0] == expected


def test_fixup_refuses_batch_norm(digits: ImageTask) -> None:
    with pytest.raises(ValueError, match="FixUp is for networks without batch norm, and this one has 4"):
        applied("fixup", chain(norm=True), init_context(digits))


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_fixup_refuses_attention_in_one_function(name: str, digits: ImageTask) -> None:
    model, graph = EvaluationNetwork(name, 0, name).build(32, 10)
    with pytest.raises(ValueError, match="attention of this network is a single function"):
        load_initializer("fixup").apply(model, InitContext(name, graph, digits, 32, torch.Generator()))


@pytest.mark.slow
def test_fixup_trains_resnet50_without_batch_norm() -> None:
    """That of torchvision, in 144 steps. At 0.1, the paper's learning rate, it is lost after 115 steps of this kind."""
    digits = load_images("digits", None, 16)
    model = applied("fixup", resnet50_bnfree(10), init_context(digits, size=16))
    sgd = make_optimizer(model, 0.03, weight_decay=0.0)
    for epoch in range(8):
        for x, y in digits.train.shuffled(64, 0, epoch):
            sgd.zero_grad()
            F.cross_entropy(model(x), y).backward()
            sgd.step()
    assert topk_accuracy(model, digits.test.batches())[0] > 0.5
