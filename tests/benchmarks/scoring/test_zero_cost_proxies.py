"""Zero-cost proxies on networks for which they can be written down."""

import contextlib
import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scoring.operation_count import count_operations
from benchmarks.scoring.zero_cost_proxies import PROXIES, score
from deepnets.networks.layers import ChannelSqueezeExcite
from deepnets.sampling.sampler import sample_networks


class Linear2(nn.Module):
    """y = V U x for flattened images."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v = nn.Linear(12, 5, bias=False), nn.Linear(5, 4, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.v(self.u(images.flatten(1)))
        return logits


@pytest.fixture
def problem() -> tuple[Linear2, Tensor, Tensor]:
    torch.manual_seed(0)
    return Linear2(), torch.randn(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 1, 1])


def parts(problem: tuple[Linear2, Tensor, Tensor]) -> dict[str, np.ndarray]:
    """Everything about the problem in numpy: softmax regression with a product of matrices."""
    model, images, labels = problem
    x, u, v = (t.detach().double().numpy() for t in (images.flatten(1), model.u.weight, model.v.weight))
    h = x @ u.T
    z = h @ v.T
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    dz = (p - np.eye(4)[labels.numpy()]) / len(x)  # dL/dz
    return {
        "x": x,
        "u": u,
        "v": v,
        "h": h,
        "z": z,
        "p": p,
        "dz": dz,
        "gv": dz.T @ h,
        "dh": dz @ v,
        "gu": (dz @ v).T @ x,
    }


def test_saliencies(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    m = parts(problem)
    assert score("gradnorm", *problem) == pytest.approx(np.linalg.norm(m["gu"]) + np.linalg.norm(m["gv"]), rel=1e-4)
    assert score("snip", *problem) == pytest.approx(abs(m["u"] * m["gu"]).sum() + abs(m["v"] * m["gv"]).sum(), rel=1e-4)
    # The loss depends on V U alone, so both layers have the same sum of w dL/dw: dL/dz . z.
    assert score("plain", *problem) == pytest.approx(2 * (m["dz"] * m["z"]).sum(), rel=1e-4)


def test_grasp(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    """H g is the derivative of the gradient in the direction g."""
    m = parts(problem)
    model, images, labels = problem
    step = 1e-5

    def gradient(sign: int) -> tuple[np.ndarray, np.ndarray]:
        moved = copy.deepcopy(model).double()
        with torch.no_grad():
            moved.u.weight += sign * step * torch.from_numpy(m["gu"])
            moved.v.weight += sign * step * torch.from_numpy(m["gv"])
        there = parts((moved, images, labels))
        return there["gu"], there["gv"]

    (up_u, up_v), (down_u, down_v) = gradient(1), gradient(-1)
    expected = -(m["u"] * (up_u - down_u)).sum() - (m["v"] * (up_v - down_v)).sum()
    assert score("grasp", *problem) == pytest.approx(expected / (2 * step), rel=1e-3)


def test_fisher(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    m = parts(problem)
    hidden, output = (m["h"] * m["dh"]) ** 2 / 2, (m["z"] * m["dz"]) ** 2 / 2
    assert score("fisher", *problem) == pytest.approx(hidden.mean(0).sum() + output.mean(0).sum(), rel=1e-4)


def test_fisher_sums_over_positions() -> None:
    """A 1x1 convolution in front of the mean is a linear layer of the mean."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 1, bias=False)
    model = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images, labels = torch.randn(5, 3, 6, 6), torch.tensor([0, 1, 2, 3, 3])
    linear = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4, bias=False))
    linear[-1].weight.data = convolution.weight.data[:, :, 0, 0]
    assert score("fisher", model, images, labels) == pytest.approx(score("fisher", linear, images, labels), rel=1e-4)


def test_jacob_cov(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    """All images of a linear network have the same Jacobian: correlations of 1, one eigenvalue B and others 0."""
    value = score("jacob_cov", *problem)
    k, n = 1e-5, 6
    expected = -(math.log(n + k) + 1 / (n + k)) - (n - 1) * (math.log(k) + 1 / k)
    assert value == pytest.approx(expected, rel=1e-3)


def test_jacob_cov_of_different_jacobians() -> None:
    """Rectifiers that are on for one image each: uncorrelated Jacobians are better than equal ones."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 12, bias=False), nn.ReLU())
    model[1].weight.data = torch.eye(12)
    images = torch.eye(12).reshape(12, 3, 2, 2)
    rows = np.corrcoef(np.eye(12))
    v = np.linalg.eigvalsh(rows) + 1e-5
    assert score("jacob_cov", model, images, torch.zeros(12)) == pytest.approx(-(np.log(v) + 1 / v).sum(), rel=1e-3)


def test_synflow(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    """R = 1 |V| |U| 1 is linear in each layer, so each contributes R."""
    m = parts(problem)
    flow = abs(m["v"]).sum(0) @ abs(m["u"]).sum(1)
    for name in ("synflow", "synflow_bn"):
        assert score(name, *problem) == pytest.approx(2 * flow, rel=1e-6)


def test_synflow_and_batch_norm() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 5, 5), torch.tensor([0, 1, 0, 1])
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    normed = nn.Sequential(plain[0], nn.BatchNorm2d(4), *plain[1:])
    assert score("synflow", normed, images, labels) == score("synflow", plain, images, labels)
    # Batch norm takes away the mean of each channel, and with it all that flows.
    assert score("synflow_bn", normed, images, labels) == pytest.approx(0, abs=1e-9)


def test_nwot() -> None:
    """K of binary codes by hand; modules and functions count alike."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(inplace=True), nn.Linear(7, 5), nn.ReLU6())
    images = torch.randn(4, 3, 2, 2)

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = model[1], model[3]

        def forward(self, x: Tensor) -> Tensor:
            return F.relu6(self.second(F.relu(self.first(x.flatten(1)))))

    with torch.no_grad():
        first = model[1](images.flatten(1))
        second = model[3](first.relu())
    codes = torch.cat([first > 0, second > 0], 1).numpy()
    kernel = np.array([[(a == b).sum() for a in codes] for b in codes], dtype=float)
    expected = np.linalg.slogdet(kernel)[1]
    for network in (model, Functional()):
        assert score("nwot", network, images, torch.zeros(4).long()) == pytest.approx(expected)
    with pytest.raises(ValueError, match="no ReLU"):
        score("nwot", nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), images, torch.zeros(4))


def test_counts(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    assert score("params", *problem) == 12 * 5 + 5 * 4
    assert score("flops", *problem) == 2 * (12 * 5 + 5 * 4)


class TwoNames(nn.Module):
    """A convolution with two names, a recurrent layer, and caches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.rnn, self.head = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 4)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        rows = self.second(torch.relu(self.first(images))).mean(1)
        logits: Tensor = self.head(self.rnn(rows)[0][:, -1])
        return logits


def test_modules_with_two_names_stay_as_they_are() -> None:
    torch.manual_seed(0)
    model, images, labels = TwoNames(), torch.randn(6, 3, 4, 4), torch.tensor([0, 1, 2, 3, 1, 2])
    before = [(name, id(p), p.detach().clone()) for name, p in model.named_parameters()]
    held = model.rnn._flat_weights
    for proxy in PROXIES:
        score(proxy, model, images, labels)
        after = list(model.named_parameters())
        assert [(name, id(p)) for name, p in after] == [(name, identity) for name, identity, _ in before]
        assert all(torch.equal(p, old) for (_, p), (_, _, old) in zip(after, before, strict=True))
        assert model.rnn._flat_weights is held
        assert model.seen == []


def test_synflow_reads_absolute_values_of_recurrent_layers() -> None:
    torch.manual_seed(0)
    model, images, labels = TwoNames(), torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 2, 3])
    absolute = copy.deepcopy(model)
    for p in absolute.parameters():
        p.data.abs_()
    assert score("synflow", model, images, labels) == score("synflow", absolute, images, labels)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("on_meta", [True, False])
def test_operations_of_attention(training: bool, on_meta: bool) -> None:
    """Projections, scores, weighted sums and the MLP, whichever implementation runs."""
    tokens, width, hidden = 17, 32, 64
    with torch.device("meta" if on_meta else "cpu"):
        model = torchvision.models.VisionTransformer(32, 8, 2, 2, width, hidden, num_classes=5).train(training)
        images = torch.zeros(2, 3, 32, 32)
    layer = tokens * width * (4 * width + 2 * tokens + 2 * hidden)
    expected = 16 * width * 3 * 8 * 8 + 2 * layer + width * 5
    assert count_operations(model, images) == score("flops", model, images, torch.zeros(2)) == 2 * expected


def test_operations_of_recurrent_layers() -> None:
    sequence = torch.zeros(2, 5, 8)
    assert count_operations(nn.LSTM(8, 16, batch_first=True), sequence) == 2 * 5 * (8 * 64 + 16 * 64)
    assert count_operations(nn.GRU(8, 16, batch_first=True), sequence) == 2 * 5 * (8 * 48 + 16 * 48)


def test_operations_are_those_of_other_counters() -> None:
    """torchvision states 17.56 GMAC for ViT-B/16; PyTorch's counter is right where there is no attention."""
    with torch.device("meta"):
        vit, images = torchvision.models.vit_b_16(), torch.zeros(1, 3, 224, 224)
        resnet = torchvision.models.resnet18()
    assert round(count_operations(vit.eval(), images) / 2e9, 2) == 17.56
    with FlopCounterMode(display=False) as counter:
        resnet.eval()(images)
    assert count_operations(resnet, images) == counter.get_total_flops()


def test_networks_without_a_score() -> None:
    """Not finite, or zero because a layer is; a network through which nothing flows has zero."""
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 2, 3])
    gates = [ChannelSqueezeExcite(8) for _ in range(12)]
    for gate in gates:
        nn.init.constant_(gate.fc1.weight, 1e3)
    squares = nn.Sequential(nn.Conv2d(3, 8, 1), *gates, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with pytest.raises(ValueError, match=r"its value is (inf|nan)"):
        score("synflow", squares, images, labels)
    classifier = nn.Linear(8, 4, bias=False)
    nn.init.zeros_(classifier.weight)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), classifier)
    for name in ("synflow", "synflow_bn", "snip", "plain", "fisher"):
        with pytest.raises(ValueError, match=r"its value is 0, as all numbers of 3\.weight are"):
            score(name, network, images, labels)
    assert score("gradnorm", network, images, labels) > 0
    assert score("synflow", Blocked(), images, labels) == 0


class Blocked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(48, 8), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(images.flatten(1)) * 0.0)
        return logits


def test_unknown_and_impossible(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="there is no proxy 'magic'; accepted: random, gradnorm"):
        score("magic", *problem)
    model, images, labels = problem
    with pytest.raises(RuntimeError):
        score("snip", model, images[:, :2], labels)
    with torch.no_grad():
        model.v.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="its value is nan"):
        score("gradnorm", model, images, labels)


@pytest.mark.parametrize("name", ["resnet", "vit", "mobilenet_v2"])
def test_networks_stay_as_they_are(name: str) -> None:
    torch.manual_seed(0)
    models = torchvision.models
    makers = {
        "resnet": lambda: models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5),
        "vit": lambda: models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5),
        "mobilenet_v2": lambda: models.mobilenet_v2(num_classes=5),
    }
    model = makers[name]()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    before = copy.deepcopy(model.state_dict())

    def scores() -> dict[str, float]:
        torch.manual_seed(1)  # for the random one
        scores = {}
        for proxy in PROXIES:
            with contextlib.suppress(ValueError):
                scores[proxy] = score(proxy, model, images, labels)
        return scores

    first = scores()
    # The classifier of a new ViT is zero.
    without = {"nwot", "jacob_cov", "epe_nas", "swap", "synflow", "synflow_bn", "snip", "plain", "fisher"}
    assert PROXIES.keys() - first.keys() == (without if name == "vit" else set())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert scores() == first


def test_networks_of_deepnets() -> None:
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    model = sample_networks("test", 2, 3).table[0].build(10, 32)
    assert all(math.isfinite(score(proxy, model, images, labels)) for proxy in PROXIES)
