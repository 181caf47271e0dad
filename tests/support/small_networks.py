"""Small networks to initialise."""

from typing import TypeVar

import torch
from torch import nn

from benchmarks.initializers.base import InitContext
from benchmarks.initializers.registry import load_initializer
from ghn_models.images.datasets import ImageTask


def init_context(images: ImageTask, seed: int = 0, size: int = 8, name: str = "net") -> InitContext:
    return InitContext(name, None, images, size, torch.Generator().manual_seed(seed))


def chain(norm: bool = False, layers: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU())
        for _ in range(layers)
    ]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.Flatten(), nn.Linear(512, 10))


Network = TypeVar("Network", bound=nn.Module)


def applied(name: str, model: Network, given: InitContext) -> Network:
    load_initializer(name).apply(model, given)
    return model
