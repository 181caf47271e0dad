"""Convolutions have the derivatives of PyTorch's, of all orders that initialisers need."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepnets.networks.kernels.convolution import DepthwiseConv2d, convolve, is_plain
from tests.support.derivatives import derivatives


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


@st.composite
def depthwise_layers(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    """A convolution as in separable ones, and what it reads."""
    kernel = draw(st.tuples(st.sampled_from((1, 3, 5)), st.sampled_from((1, 3, 5))))
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    layer = nn.Conv2d(3, 3, kernel, stride, padding, dilation, groups=3, bias=False)
    x = torch.randn(2, 3, draw(st.integers(3, 8)), draw(st.integers(3, 8)))
    return layer.double(), x.double().contiguous(memory_format=torch.channels_last).requires_grad_()


@given(st.one_of(layers(), depthwise_layers()))
@settings(max_examples=120, deadline=None)
def test_derivatives_are_those_of_pytorch(case: tuple[nn.Conv2d, Tensor]) -> None:
    layer, x = case
    assert is_plain(layer)
    inputs = [x, *layer.parameters()]
    options: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)
    ours = derivatives(inputs, lambda: convolve(layer, x))
    theirs = derivatives(inputs, lambda: F.conv2d(x, layer.weight, layer.bias, *options))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 2), (5, 1, 1), (5, 1, 2), (5, 2, 1), (3, 2, 2)])
def test_depthwise_layers_learn_as_those_of_pytorch(kernel: int, stride: int, dilation: int) -> None:
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": 32, "bias": False}
    options["padding"] = dilation * (kernel // 2)
    ours, theirs = DepthwiseConv2d(32, 32, kernel, **options), nn.Conv2d(32, 32, kernel, **options)
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(3, 32, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    derivatives = []
    for layer in (ours, theirs):
        y = layer(maps)
        assert y.is_contiguous(memory_format=torch.channels_last)
        derivatives.append((y, *torch.autograd.grad(y.sin().sum(), (maps, layer.weight))))
        assert derivatives[-1][1].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*derivatives, atol=1e-4, rtol=1e-4)


def test_other_padding_is_left_to_pytorch() -> None:
    assert not is_plain(nn.Conv2d(3, 4, 3, padding="same"))
    assert not is_plain(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"))
