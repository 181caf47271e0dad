"""Convolutions of initialisers have the derivatives of PyTorch's, of all orders that these need."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.initializers.convolution import convolve, is_plain


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    """A convolution, depthwise or not, and what it reads."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    groups = draw(st.sampled_from((1, 2, 4)))
    per_group = draw(st.integers(1, 2))
    layer = nn.Conv2d(
        *(4, groups * per_group, draw(pair)),
        stride=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        groups=groups,
        bias=draw(st.booleans()),
    )
    x = torch.randn(2, 4, draw(st.integers(5, 7)), draw(st.integers(5, 7)))
    if draw(st.booleans()):
        layer, x = layer.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    return layer.double(), x.double().requires_grad_()


def derivatives(layer: nn.Conv2d, x: Tensor, forward: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The value of something that is linear in nothing, and its first three derivatives."""
    inputs = [x, *layer.parameters()]
    found = [forward(x)]
    for _ in range(3):
        value = torch.stack([tensor.sin().sum() for tensor in found[-len(inputs) :]]).sum()
        found += torch.autograd.grad(value, inputs, create_graph=True)
    return found


@given(layers())
@settings(max_examples=60, deadline=None)
def test_derivatives_are_those_of_pytorch(case: tuple[nn.Conv2d, Tensor]) -> None:
    layer, x = case
    assert is_plain(layer)
    ours = derivatives(layer, x, lambda x: convolve(layer, x))
    theirs = derivatives(
        layer,
        x,
        lambda x: F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups),
    )
    torch.testing.assert_close(ours, theirs)


def test_other_padding_is_left_to_pytorch() -> None:
    assert not is_plain(nn.Conv2d(3, 4, 3, padding="same"))
    assert not is_plain(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"))
