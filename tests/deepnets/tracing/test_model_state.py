"""Tracing changes nothing: every attribute of every module is the same object with the same value afterwards."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from deepnets import TraceError, trace
from tests.support.model_state import assert_same, state_of


class Shared(nn.Module):
    """A module with two names, and one in a list; a parameter with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 10)
        self.second = self.first
        self.others = [self.head, nn.BatchNorm2d(8)]
        self.tied = nn.Linear(8, 10)
        self.tied.weight = self.head.weight

    def forward(self, x: Tensor) -> Any:
        x = self.others[1](self.second(torch.relu(self.first(self.stem(x))))).mean((2, 3))
        return self.head(x) + self.tied(x)


class Settings:
    cache: Tensor | None = None


class Remembering(nn.Module):
    """Counts, keeps what it computes in all kinds of places, and makes a layer in its first forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.fc: nn.Module | None = None
        self.seen: list[Tensor] = []
        self.cache: dict[str, Any] = {"inside": {}}
        self.settings, self.shapes = Settings(), set[tuple[int, ...]]()
        self.calls, self.scale = torch.zeros(1), torch.ones(8)

    def forward(self, x: Tensor) -> Any:
        h = self.norm(self.conv(x)).mean((2, 3))
        self.seen.append(h)
        self.cache["inside"]["h"] = self.settings.cache = h
        self.shapes.add(tuple(h.shape))
        self.calls += 1
        self.scale[2:4] = torch.rand(2)
        if self.fc is None:
            self.fc = nn.Linear(8, 10)
            self.register_buffer("late", h)
        return self.fc(h * self.scale)


class Failing(Remembering):
    def forward(self, x: Tensor) -> Any:
        super().forward(x)
        raise RuntimeError("no")


class Reading(Remembering):
    def forward(self, x: Tensor) -> Any:
        out = super().forward(x)
        return out if out.sum() > 0 else out * 2


MODELS: dict[str, Any] = {
    "shared": Shared,
    "remembering": Remembering,
    "failing": Failing,
    "reading": Reading,
    "lstm": lambda: nn.Sequential(nn.Flatten(2), nn.LSTM(1024, 4, batch_first=True)),
    "spectral_norm": lambda: nn.utils.spectral_norm(nn.Conv2d(3, 8, 3)),
    "parametrized": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)),
    "scripted": lambda: nn.Sequential(torch.jit.script(nn.Conv2d(3, 8, 3)), nn.Conv2d(8, 2, 1)),
    "encoder": lambda: nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(1024, 2, 32, batch_first=True)),
    "resnet18": torchvision.models.resnet18,
    "mobilenet_v3_small": torchvision.models.mobilenet_v3_small,
    "shufflenet": torchvision.models.shufflenet_v2_x0_5,
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_tracing_changes_nothing(name: str, training: bool) -> None:
    model = MODELS[name]().train(training)
    before, generator = state_of(model), torch.get_rng_state()
    for compute in (None, True):
        try:
            trace(model, (3, 32, 32), compute=compute)
        except TraceError:
            assert name == "failing"
    assert_same(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), generator)


def test_threads() -> None:
    """They share a module, and no global setting is switched."""
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    models = [nn.Sequential(backbone, nn.Linear(8, n)) for n in range(1, 5)]
    before = [state_of(model) for model in models]
    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(lambda model: trace(model, 32), models * 4))
    for model, old in zip(models, before, strict=True):
        assert_same(old, state_of(model))
    assert all(len(graph) == 7 for graph in graphs)
    assert torch.backends.mha.get_fastpath_enabled()
