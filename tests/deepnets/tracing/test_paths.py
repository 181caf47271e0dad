"""Traced edges against the graph of autograd: the same parameters lie upstream of each layer."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from deepnets import ArchGraph, trace
from deepnets.networks.skip_init import build_on_meta
from tests.support.autograd_paths import autograd_paths, traced_paths, wrong_paths

QUICK = ("convnext_tiny", "googlenet", "mobilenet_v3_small", "shufflenet_v2_x0_5", "swin_t", "vit_b_16")
MORE = (
    *("alexnet", "convnext_base", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "densenet121", "densenet201"),
    *("efficientnet_b0", "efficientnet_v2_s", "fcn_resnet50", "inception_v3", "lraspp_mobilenet_v3_large", "maxvit_t"),
    *("mc3_18", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_large", "mvit_v1_b", "mvit_v2_s", "r2plus1d_18", "r3d_18"),
    *("raft_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d", "s3d"),
    *("squeezenet1_0", "swin3d_t", "swin_v2_t", "vgg11", "vgg11_bn", "wide_resnet50_2"),
)


def torchvision_call(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a model and its inputs on the meta device, where autograd records all the same."""
    builder = torchvision.models.get_model_builder(name)
    segments, is_video = ".segmentation" in builder.__module__, ".video" in builder.__module__
    options = {"weights_backbone": None} if segments else {}
    model = build_on_meta(partial(builder, **options)).to("meta").eval()
    size = 299 if name.startswith("inception") else 224
    shape = (1, 3, 16, 224, 224) if is_video and name.startswith(("mvit", "s3d", "swin")) else (1, 3, 16, 112, 112)
    if name.startswith("raft"):
        return model, tuple(torch.empty(1, 3, 128, 128, device="meta") for _ in range(2))
    return model, (torch.empty(shape if is_video else (2, 3, size, size), device="meta"),)


def assert_same_paths(model: nn.Module, inputs: tuple[Any, ...]) -> ArchGraph:
    graph = trace(model, inputs=inputs)
    paths = autograd_paths(model, inputs)
    assert traced_paths(graph, paths.upstream)
    assert wrong_paths(graph, paths) == []
    return graph


@pytest.mark.parametrize("name", QUICK)
def test_paths_are_those_of_autograd(name: str) -> None:
    assert_same_paths(*torchvision_call(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_more_paths_are_those_of_autograd(name: str) -> None:
    assert_same_paths(*torchvision_call(name))


class Translation(nn.Module):
    """Encoder and decoder of tokens, with tables of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(50, 8), nn.Parameter(torch.zeros(1, 7, 8))
        self.transformer = nn.Transformer(8, 2, 2, 2, 16, batch_first=True)
        self.rnn, self.head = nn.GRU(8, 8, 2, batch_first=True, bidirectional=True), nn.Linear(16, 50)

    def forward(self, source: Tensor, target: Tensor) -> Any:
        decoded = self.transformer(self.embed(source) + self.positions, self.embed(target) + self.positions)
        return self.head(self.rnn(decoded)[0])


def test_paths_of_tokens() -> None:
    ids = torch.randint(0, 50, (2, 7))
    assert_same_paths(Translation().eval(), (ids, ids.clone()))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right, self.head = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        return self.head(torch.tanh(self.left(x)) + torch.relu(self.right(x)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("stem.bias", "right.weight", False), "stem.bias -> right.weight is not traced"),
        (("left.bias", "right.weight", True), "left.bias -> right.weight is only traced"),
    ],
)
def test_wrong_edges_are_found(change: tuple[str, str, bool], message: str) -> None:
    model, inputs = Branches(), (torch.rand(2, 8),)
    graph = assert_same_paths(model, inputs)
    source, target, is_added = change
    names = graph.name.tolist()
    edge = [names.index(source), names.index(target)]
    edges = [e for e in graph.edge_index.T.tolist() if e != edge] + [edge] * is_added
    wrong = wrong_paths(replace(graph, edge_index=np.array(edges, np.int32).T), autograd_paths(model, inputs))
    assert message in wrong
