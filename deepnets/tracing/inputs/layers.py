"""The first argument of a model that does not say what it takes: the shape that its first layer reads."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import argument
from deepnets.tracing.inputs.kinds.tokens import token_ids

IMAGE_SIZES = (224, 32, 28, 64, 256, 299, 512)
_VOLUMES = ((16, 112, 112), (16, 224, 224), (96, 96, 96), (64, 64, 64), (32, 32, 32), (128, 128, 128))
_LENGTHS = (16000, 128, 1024)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def first_argument(facts: Facts) -> Iterator[Tensor]:
    """Provide what the first layer may take; then what other layers may, images last."""
    size = facts.image_size()
    if size is not None and len(size) > 2:
        yield facts.floats(*size)
        return
    convolution = facts.first(*_CONVOLUTIONS)
    first = facts.first(*_CONVOLUTIONS, nn.Linear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.RNNCellBase, *_NORMS)
    if isinstance(first, nn.Embedding | nn.EmbeddingBag) and facts.dtype.is_floating_point:
        yield from token_ids(facts)
    sounds = facts.number("audio_channels", default=0)
    if sounds:
        yield facts.floats(sounds, _LENGTHS[0])
    if isinstance(first, nn.RNNBase | nn.RNNCellBase):
        yield facts.floats(*((16,) if isinstance(first, nn.RNNBase) else ()), first.input_size)
    if convolution is not None and not isinstance(first, nn.Linear):
        yield from _for_convolution(facts, convolution, size)
    if isinstance(first, nn.Linear):
        yield from _for_linear(facts, first, size, convolution)
    if isinstance(first, _NORMS) and convolution is None:
        yield facts.floats(first.num_features)
    if convolution is None:
        yield from (facts.floats(3, *_square(n)) for n in ([size] if size else [224]))


@argument("inputs")
def any_inputs(facts: Facts) -> Iterator[Tensor]:
    """(B, 16, features) for models that read any array (Perceiver), else what the first layer reads."""
    if facts.find("d_latents") is not None:
        yield facts.floats(16, facts.number("d_model", default=512))
    yield from first_argument(facts)


def _for_linear(
    facts: Facts, linear: nn.Linear, size: tuple[int, ...] | None, convolution: nn.Module | None
) -> Iterator[Tensor]:
    if convolution is not None and size is not None:
        yield from _for_convolution(facts, convolution, size)
    yield facts.floats(linear.in_features)
    yield facts.floats(16, linear.in_features)
    if convolution is not None and size is None:
        yield from _for_convolution(facts, convolution, size)


def _for_convolution(facts: Facts, convolution: Any, size: tuple[int, ...] | None) -> Iterator[Tensor]:
    channels, dims = convolution.in_channels, len(convolution.kernel_size)
    if isinstance(convolution, _TRANSPOSED):
        yield from (facts.floats(channels, *[n] * dims) for n in (1, 4, 7, 16))
        yield facts.floats(channels)
    elif dims == 1:
        yield from (facts.floats(channels, n) for n in (_LENGTHS if channels <= 2 else _LENGTHS[::-1]))
        yield from (facts.floats(n, channels) for n in (16, 128))
        yield facts.floats(_LENGTHS[0])
    elif dims == 2:
        yield from (facts.floats(channels, *_square(n)) for n in ([size] if size else IMAGE_SIZES))
        if size is None and channels != 3:
            yield facts.floats(3, 224, 224)
            yield facts.floats(128, 128)
            yield facts.floats(16000)
    else:
        volumes = (size,) if size is not None and len(size) == dims else _VOLUMES
        yield from (facts.floats(channels, *volume) for volume in volumes)


def _square(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else size


def image(facts: Facts, size: int) -> Tensor:
    """Return an image, sound or volume for the first convolution, with a side that the user chose."""
    convolution = facts.first(nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if convolution is None:
        return facts.floats(3, size, size)
    return facts.floats(convolution.in_channels, *[size] * len(convolution.kernel_size))
