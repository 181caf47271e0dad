"""Models of other libraries: tracing finds their inputs and changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
import torch
from torch import nn
from torch_geometric.nn import models as graph_models

from benchmarks.performance.model_zoo.hugging_face import hugging_face_models
from benchmarks.performance.model_zoo.others import other_models
from benchmarks.performance.model_zoo.vision import timm_models, torchvision_models
from deepnets import TraceError, trace
from deepnets.tracing.model_loader import timm_model, torchvision_model
from tests.support.model_state import assert_same, state_of

TORCHVISION = (
    *("densenet121", "efficientnet_b0", "deeplabv3_mobilenet_v3_large", "googlenet", "lraspp_mobilenet_v3_large"),
    *(
        "mnasnet0_5",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "quantized_mobilenet_v2",
        "quantized_resnet18",
        "shufflenet_v2_x1_0",
    ),
    *("resnet18", "regnet_x_400mf", "shufflenet_v2_x0_5", "squeezenet1_1", "squeezenet1_0"),
)
GRAPHS: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: partial(kind, 8, 16, 2)
    for kind in (graph_models.GCN, graph_models.GAT, graph_models.GIN, graph_models.GraphSAGE)
}
LARGEST = 60_000_000  # parameters


@pytest.mark.parametrize("name", [*TORCHVISION, *GRAPHS])
def test_tracing_finds_the_inputs_and_changes_nothing(name: str) -> None:
    model = GRAPHS[name]() if name in GRAPHS else torchvision_model(name)
    before, generator = state_of(model), torch.get_rng_state()
    graph = trace(model)
    assert_same(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), generator)
    assert len(graph) > len(list(model.parameters())) / 3


def small_models(library: str) -> Iterator[tuple[str, nn.Module]]:
    """Models with numbers, not too large."""
    if library == "timm":
        for name, build in timm_models().items():
            if sum(parameter.numel() for parameter in build().parameters()) < LARGEST / 4:
                yield name, timm_model(name)
    else:
        zoo = {"torchvision": torchvision_models, "hugging_face": hugging_face_models, "others": other_models}[library]
        for name, build in zoo().items():
            if library == "torchvision":
                build = partial(torchvision_model, name)
            yield name, build()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "needs", "count"),
    [
        ("torchvision", (), 40),
        ("timm", ("timm",), 40),
        ("hugging_face", ("transformers",), 60),
        ("others", ("monai", "segmentation_models_pytorch", "diffusers", "torchaudio", "speechbrain"), 30),
    ],
)
def test_nothing_is_changed_in_many_models(library: str, needs: tuple[str, ...], count: int) -> None:
    for package in needs:
        pytest.importorskip(package)
    done = 0
    for name, model in small_models(library):
        before, generator = state_of(model), torch.get_rng_state()
        with suppress(TraceError):  # a model that fails is left as it was, too
            trace(model, compute=False if library == "torchvision" else None)
        assert_same(before, state_of(model))
        assert torch.equal(torch.get_rng_state(), generator), name
        done += 1
        if done == count:
            break
    assert done == count
