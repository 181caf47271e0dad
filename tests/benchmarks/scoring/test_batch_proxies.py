"""Zen, ZiCo, EPE-NAS, SWAP and the norm of the weights on networks for which they can be written down."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.scoring.zero_cost_proxies import score

LABELS = torch.tensor([0, 1, 2, 3, 1, 1])


class Linear2(nn.Module):
    """y = V U x for flattened images."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v = nn.Linear(12, 5, bias=False), nn.Linear(5, 4, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.v(self.u(images.flatten(1)))
        return logits


@pytest.fixture
def model() -> Linear2:
    torch.manual_seed(0)
    return Linear2()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def test_l2_norm(model: Linear2, images: Tensor) -> None:
    u, v = arrays(model.u.weight, model.v.weight)
    assert score("l2_norm", model, images, LABELS) == pytest.approx(np.linalg.norm(u) + np.linalg.norm(v), rel=1e-6)


def gradients(model: Linear2, images: Tensor, labels: Tensor) -> list[np.ndarray]:
    """dL/dU and dL/dV of softmax regression with a product of matrices."""
    x, u, v = arrays(images.flatten(1), model.u.weight, model.v.weight)
    p = np.exp(x @ u.T @ v.T)
    dz = (p / p.sum(1, keepdims=True) - np.eye(4)[labels.numpy()]) / len(x)
    return [(dz @ v).T @ x, dz.T @ (x @ u.T)]


def test_zico(model: Linear2, images: Tensor) -> None:
    expected = 0.0
    halves = [gradients(model, images[:3], LABELS[:3]), gradients(model, images[3:], LABELS[3:])]
    for first, second in zip(*halves, strict=True):
        a, b = abs(first), abs(second)
        # Of two numbers the mean is their half sum, the deviation their half difference.
        expected += np.log(((a + b) / abs(a - b)).sum())
    assert score("zico", model, images, LABELS) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="it needs two images"):
        score("zico", model, images[:1], LABELS[:1])


class Quadratic(nn.Module):
    """The sum of squares of the pixels, whose Jacobian is twice the image."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).square().sum(1, keepdim=True)


def test_epe_nas(images: Tensor) -> None:
    (x,) = arrays(images.flatten(1))
    expected = 0.0
    for label in range(4):
        own = x[LABELS.numpy() == label]
        c = np.corrcoef(own) if len(own) > 1 else np.ones((1, 1))
        expected += abs(np.log(abs(c) + 1e-5).sum())
    assert score("epe_nas", Quadratic(), images, LABELS) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="the Jacobian of an image is constant"):
        score("epe_nas", Quadratic(), torch.ones_like(images), LABELS)


def test_epe_nas_of_many_classes() -> None:
    images = torch.randn(104, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(104) // 2 * 2
    labels[:52] = torch.arange(52) + 200  # 26 pairs and 52 single images: 78 classes
    few = score("epe_nas", Quadratic(), images, labels)
    labels = torch.arange(104).clamp(max=101)  # 101 single images and one group of three: 102 classes
    (x,) = arrays(images.flatten(1))
    single = np.log(1 + 1e-5)
    group = np.log(abs(np.corrcoef(x[101:])) + 1e-5).sum()
    expected = 101 * abs(group - single) / np.sqrt(101 * single**2 + group**2)
    assert score("epe_nas", Quadratic(), images, labels) == pytest.approx(expected, rel=1e-4)
    assert few > 0


def test_swap() -> None:
    """Three images and five units: two units have the same pattern, one is never on."""
    layer = nn.Linear(3, 5, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, -1], [-1, -1, -1]]))
    images = torch.eye(3).reshape(3, 3, 1, 1)
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU())
    # On for images: 0; 0; 1; 0 and 1; none.
    assert score("swap", model, images, torch.arange(3)) == 4
    # The second ReLU sees the same signs, so it adds no pattern.
    assert score("swap", nn.Sequential(model, nn.ReLU6()), images, torch.arange(3)) == 4
    with pytest.raises(ValueError, match="the network has no ReLU"):
        score("swap", nn.Sequential(nn.Flatten(), layer), images, torch.arange(3))


def test_zen_of_a_linear_network(model: Linear2, images: Tensor) -> None:
    """Without batch norm it is log E |V U 0.01 e|, e the third draw of normal numbers, U and V the first two."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(shape, generator=generator) for shape in ((5, 12), (4, 5)))
    torch.randn(images.shape, generator=generator)
    noise = torch.randn(images.shape, generator=generator).flatten(1)
    expected = np.log(np.linalg.norm(0.01 * (noise @ u.T @ v.T).numpy(), axis=1).mean())
    assert score("zen", model, images, LABELS) == pytest.approx(expected, abs=1e-4)
    # The weights do not matter.
    with torch.no_grad():
        model.u.weight.fill_(3.0)
    assert score("zen", model, images, LABELS) == pytest.approx(expected, abs=1e-4)


def test_zen_makes_up_for_batch_norm() -> None:
    """Batch norm divides by what is added again: with one channel nothing but rounding differs."""
    torch.manual_seed(0)
    images = torch.randn(64, 3, 8, 8)
    convolution = nn.Conv2d(3, 1, 3, padding=1, bias=False)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)]
    without = score("zen", nn.Sequential(convolution, *head), images, LABELS)
    norm = nn.BatchNorm2d(1)
    with torch.no_grad():
        norm.weight.fill_(7.0)
    with_norm = score("zen", nn.Sequential(convolution, norm, *head), images, LABELS)
    assert with_norm == pytest.approx(without, abs=0.01)
