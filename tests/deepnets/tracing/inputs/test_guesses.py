"""Inputs are found by what a model says about itself."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch_geometric.nn.models import GCN, AttentiveFP

from deepnets import TraceError, trace
from deepnets.tracing.inputs.arguments import Arguments
from deepnets.tracing.inputs.guesses import possible_calls


def first_call(model: nn.Module) -> Arguments:
    return next(possible_calls(model, None, None))


def shapes(arguments: Arguments) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in (*arguments[0], *arguments[1].values())]


def first_shape(model: nn.Module) -> tuple[int, ...]:
    return shapes(first_call(model))[0]


class Timm(nn.Module):
    """Says what it expects as models of timm do."""

    def __init__(self) -> None:
        super().__init__()
        self.default_cfg = {"input_size": (1, 40, 48)}
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.conv(x)


class TwoTowers(nn.Module):
    """As models of Hugging Face: images and texts, whose sizes are in parts of the configuration."""

    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__()
        part: Callable[..., Any] = lambda **settings: SimpleNamespace(**settings, to_dict=dict)  # noqa: E731
        self.config = part(
            model_type="two_towers",
            text_config=part(vocab_size=50, eos_token_id=2, image_token_id=7),
            vision_config=part(image_size=24, num_channels=1, patch_size=8),
        )
        self.embedding, self.patches = nn.Embedding(50, 6), nn.Conv2d(1, 6, 8, 8)

    def forward(self, input_ids: Any = None, pixel_values: Any = None, attention_mask: Any = None) -> Any:
        assert attention_mask is None
        return self.embedding(input_ids).mean(1), self.patches(pixel_values).mean((2, 3))


class Example(nn.Bilinear):
    """Has an example, as models of Lightning do."""

    def __init__(self) -> None:
        super().__init__(3, 5, 2)
        self.example_input_array = (torch.zeros(4, 3), torch.zeros(4, 5))


class Stereo(nn.Module):
    """Two arguments without a default."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, left: Any, right: Any, scale: float = 1.0) -> Any:
        return self.conv(left) + self.conv(right) * scale


class Fixed(nn.Module):
    """Works with images of one size, and does not say which."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(2 * (size - 2) ** 2, 4)

    def forward(self, picture: Any, mask: Any = None) -> Any:
        return self.fc(self.conv(picture).flatten(1))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (torchvision.models.resnet18(), (2, 3, 224, 224)),
        (torchvision.models.inception_v3(init_weights=False), (2, 3, 299, 299)),
        (Timm(), (2, 1, 40, 48)),
        (torchvision.models.video.r3d_18(), (2, 3, 16, 112, 112)),
        (nn.Sequential(nn.Conv1d(1, 4, 9), nn.ReLU()), (2, 1, 16000)),
        (nn.Sequential(nn.ConvTranspose2d(10, 4, 4), nn.ReLU()), (2, 10, 1, 1)),
        (nn.Sequential(nn.Linear(12, 3)), (2, 12)),
        (nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, 2)), (2, 16)),
        (nn.GRU(5, 3, batch_first=True), (2, 16, 5)),
        (nn.DataParallel(Timm()), (2, 1, 40, 48)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_first_layer_and_the_settings_say_the_shape(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert first_shape(model) == shape
    assert trace(model, strict=True).report.complete


def test_every_tower_gets_an_input() -> None:
    _, arguments = first_call(TwoTowers())
    assert {name: tuple(value.shape) for name, value in arguments.items()} == {
        "input_ids": (2, 16),
        "pixel_values": (2, 1, 24, 24),
    }
    assert not {2, 7} & set(arguments["input_ids"][:, :-1].flatten().tolist())  # the end, and places of images
    assert arguments["input_ids"][0, -1] == 2
    assert trace(TwoTowers(), strict=True).name.tolist().count("input") == 2


def test_what_the_model_has_as_an_example() -> None:
    assert shapes(first_call(Example())) == [(4, 3), (4, 5)]
    assert trace(Example(), strict=True).report.complete


def test_arguments_without_a_default() -> None:
    assert shapes(first_call(Stereo())) == [(2, 3, 224, 224)] * 2
    assert trace(nn.Transformer(8, 2, 1, 1, 16)).report.complete


def test_graphs() -> None:
    assert shapes(first_call(GCN(5, 8, 2))) == [(8, 5), (2, 16)]
    model = AttentiveFP(5, 8, 2, edge_dim=3, num_layers=1, num_timesteps=1)
    assert shapes(first_call(model)) == [(8, 5), (2, 16), (16, 3), (8,)]
    assert len(trace(model)) > 10


@pytest.mark.parametrize("training", [True, False])
def test_detectors_get_lists_of_images_and_targets(training: bool) -> None:
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights_backbone=None).train(training)
    (images, *targets), _ = first_call(model)
    assert [tuple(image.shape) for image in images] == [(3, 224, 224)] * 2
    assert [sorted(target) for target in (targets[0] if targets else [])] == [["boxes", "labels"]] * 2 * training


def test_sizes_are_tried() -> None:
    assert trace(Fixed(28), strict=True).report.complete


def test_the_error_names_what_forward_takes_and_a_call() -> None:
    with pytest.raises(TraceError) as caught:
        trace(Fixed(29))
    message = str(caught.value)
    assert "forward takes (picture, mask=None): give the size it expects (input_size)" in message
    assert "tried too: (2, 1, 32, 32)" in message
    assert message.endswith("as in trace(model, inputs={'picture': torch.zeros(2, 1, 224, 224)})")
    assert trace(Fixed(29), inputs={"picture": torch.zeros(2, 1, 29, 29)}).report.complete


class Failing(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, input: Tensor) -> Tensor:
        raise OSError("no licence")


def test_advice_on_sizes_only_where_sizes_are_the_trouble() -> None:
    with pytest.raises(
        TraceError, match=r"no licence.*give other inputs, as in trace\(model, inputs=\{'input'"
    ) as caught:
        trace(Failing())
    assert "input_size" not in str(caught.value)


def test_a_size_for_volumes() -> None:
    model = nn.Conv3d(2, 4, 3)
    (volume,), _ = next(possible_calls(model, 16, None))
    assert tuple(volume.shape) == (2, 2, 16, 16, 16)
