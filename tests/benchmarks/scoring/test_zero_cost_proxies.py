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

from benchmarks.scoring.zero_cost_proxies import PROXIES, score
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
    found = score("jacob_cov", *problem)
    k, n = 1e-5, 6
    expected = -(math.log(n + k) + 1 / (n + k)) - (n - 1) * (math.log(k) + 1 / k)
    assert found == pytest.approx(expected, rel=1e-3)


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


def test_unknown_and_impossible(problem: tuple[Linear2, Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="there is no proxy 'magic'; accepted: gradnorm"):
        score("magic", *problem)
    model, images, labels = problem
    with pytest.raises(RuntimeError):
        score("snip", model, images[:, :2], labels)
    with torch.no_grad():
        model.v.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="its value is nan"):
        score("gradnorm", model, images, labels)


@pytest.mark.parametrize("name", ["resnet18", "vit", "mobilenet_v2"])
def test_networks_stay_as_they_are(name: str) -> None:
    torch.manual_seed(0)
    models = torchvision.models
    small = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    model = models.VisionTransformer(**small, num_classes=5) if name == "vit" else getattr(models, name)(num_classes=5)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    before = copy.deepcopy(model.state_dict())

    def scores() -> dict[str, float]:
        found = {}
        for proxy in PROXIES:
            with contextlib.suppress(ValueError):
                found[proxy] = score(proxy, model, images, labels)
        return found

    first = scores()
    # The classifier of a new ViT is zero.
    assert PROXIES.keys() - first.keys() == ({"nwot", "jacob_cov", "epe_nas", "swap"} if name == "vit" else set())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert scores() == first


def test_networks_of_deepnets() -> None:
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    model = sample_networks("test", 2, 3).table[0].build(10, 32)
    assert all(math.isfinite(score(proxy, model, images, labels)) for proxy in PROXIES)
