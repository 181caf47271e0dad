"""NIO makes the gradients of different images agree, and keeps the direction of each parameter."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.initializers.nio import _sub_batches, grad_cosine
from benchmarks.initializers.registry import load_initializer
from ghn_models.images.datasets import ImageTask
from tests.support.small_networks import applied, chain, init_context


def cosine(model: nn.Module, digits: ImageTask) -> float:
    """The cosine of the gradients of two halves of a batch, by hand."""
    flat = []
    for x, y in list(digits.test.batches(64))[:2]:
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        flat.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    return float(F.cosine_similarity(flat[0], flat[1], dim=0))


def test_nio_raises_gradcosine(digits: ImageTask) -> None:
    model = chain()
    before = copy.deepcopy(model)
    applied("nio.60", model, init_context(digits))

    assert cosine(model, digits) > cosine(before, digits) + 0.05
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        factor = (a / b)[b.abs() > 1e-6]
        assert (factor - factor.mean()).abs().max() < 1e-4
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_gradcosine_is_that_of_all_parameters_together() -> None:
    first, second = (
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([2.0])},
        {
            "a": torch.tensor([2.0, 0.0]),
            "b": torch.tensor([1.0]),
        },
    )

    def flat(gradient: dict[str, Tensor]) -> Tensor:
        return torch.cat(list(gradient.values()))

    assert grad_cosine(first, second) == pytest.approx(F.cosine_similarity(flat(first), flat(second), dim=0).item())


def test_sub_batches_share_a_fifth() -> None:
    first, second = _sub_batches(128)
    assert (first.start, second.stop) == (0, 128)
    assert first.stop == 128 - second.start == 71
    assert first.stop - second.start == pytest.approx(0.2 * 71, abs=1)
    assert _sub_batches(1) == (slice(0, 1), slice(0, 1))


def test_nio_is_a_model_of_its_own() -> None:
    initializer = load_initializer("nio.7")
    assert initializer.name == "nio.7"
    assert initializer.learns
    assert initializer.makes_classifiers
