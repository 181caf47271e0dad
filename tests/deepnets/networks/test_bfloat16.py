"""Networks that compute in bfloat16 on CPUs: own kernels give what PyTorch's give in float32, but for rounding."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deepnets.networks.kernels.attention import attend
from deepnets.networks.kernels.convolution import DepthwiseConv2d, PointwiseConv2d
from deepnets.networks.layers import AvgPool, FactorizedReduce, SharedReLU


@pytest.mark.parametrize("tokens", [121, 300])
def test_attention(tokens: int) -> None:
    exact = [torch.randn(2, 8, tokens, 4, requires_grad=True) for _ in range(3)]
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    q, k, v = exact
    ours, theirs = attend(*rounded), F.scaled_dot_product_attention(q, k, v)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs, atol=0.03, rtol=0.03)
    gradient = torch.randn_like(theirs)
    grads = torch.autograd.grad(ours, rounded, gradient.bfloat16())
    for a, b in zip(grads, torch.autograd.grad(theirs, exact, gradient), strict=True):
        assert torch.cosine_similarity(a.float().flatten(), b.flatten(), dim=0) > 0.999


def test_average_pooling() -> None:
    layer, x = AvgPool(3, 2, padding=1, count_include_pad=False), torch.randn(2, 16, 8, 8)
    rounded, exact = x.bfloat16().requires_grad_(), x.requires_grad_()
    ours, theirs = layer(rounded), layer(exact)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs, atol=0.02, rtol=0.02)
    gradient = torch.randn_like(theirs)
    ((a,), (b,)) = torch.autograd.grad(ours, rounded, gradient.bfloat16()), torch.autograd.grad(theirs, exact, gradient)
    torch.testing.assert_close(a.float(), b, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("side", [2, 3, 4, 8, 11])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 1, 2), (5, 2, 2)])
def test_depthwise_convolution(kernel: int, stride: int, dilation: int, side: int) -> None:
    layer = DepthwiseConv2d(16, 16, kernel, stride, dilation * (kernel // 2), dilation, groups=16, bias=False)
    x = torch.randn(4, 16, side, side).contiguous(memory_format=torch.channels_last)

    def derivatives(dtype: torch.dtype) -> list[Tensor]:
        inputs = [x.to(dtype).requires_grad_(), layer.weight.detach().to(dtype).requires_grad_()]
        y = torch.func.functional_call(layer, {"weight": inputs[1]}, inputs[0])
        gradient = torch.ones_like(y).cumsum(3)
        return [y, *torch.autograd.grad(y, inputs, gradient)]

    for a, b in zip(derivatives(torch.bfloat16), derivatives(torch.float32), strict=True):
        assert a.dtype == torch.bfloat16
        torch.testing.assert_close(a.float(), b, atol=0.02 * b.abs().max().item(), rtol=0.02)


@pytest.mark.parametrize("side", [4, 7])
@pytest.mark.parametrize(("stride", "first"), [(1, 0), (2, 0), (2, 1)])
def test_pointwise_convolution(stride: int, first: int, side: int) -> None:
    layer = PointwiseConv2d(16, 8, 1, stride, bias=False)
    x = torch.randn(4, 16, side, side).contiguous(memory_format=torch.channels_last)

    def derivatives(dtype: torch.dtype) -> list[Tensor]:
        given = x.to(dtype).requires_grad_()
        weight = layer.weight.detach().to(dtype).requires_grad_()
        y = torch.func.functional_call(layer, {"weight": weight}, given[:, :, first:, first:])
        return [y, *torch.autograd.grad(y, (given, weight), torch.ones_like(y).cumsum(3))]

    for a, b in zip(derivatives(torch.bfloat16), derivatives(torch.float32), strict=True):
        assert a.dtype == torch.bfloat16
        torch.testing.assert_close(a.float(), b, atol=0.02 * b.abs().max().item(), rtol=0.02)


def test_factorized_reduction() -> None:
    layer = FactorizedReduce(16, 8, None)
    x = torch.randn(4, 16, 8, 8).contiguous(memory_format=torch.channels_last)

    def gradient(dtype: torch.dtype) -> Tensor:
        given = x.to(dtype).requires_grad_()
        y = torch.func.functional_call(layer, {k: v.to(dtype) for k, v in layer.state_dict().items()}, given)
        return torch.autograd.grad(y, given, torch.ones_like(y).cumsum(3))[0].float()

    torch.testing.assert_close(gradient(torch.bfloat16), gradient(torch.float32), atol=0.05, rtol=0.02)


def test_a_map_is_rectified_once() -> None:
    layers, x = [SharedReLU(), SharedReLU()], torch.randn(4, 8, requires_grad=True)
    rounded = x.bfloat16()
    first, second = (layer(rounded) for layer in layers)
    assert second is first
    (found,) = torch.autograd.grad((first.float() * 2 + second.float() * 3).sum(), x)
    assert torch.equal(found, 5.0 * (rounded > 0))
    with torch.no_grad():
        rounded.neg_()
    assert torch.equal(layers[0](rounded), rounded.relu())  # a map that has changed is rectified again
    exact = x * 1
    assert layers[0](exact) is not layers[1](exact)
