"""Networks with repeated channels give the same results when these are computed once."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.core.channel_folding import RepeatedChannels, repeated_channels_once
from deepnets import symbolic_graph
from deepnets.networks.network import Network
from deepnets.sampling.sampler import sample_networks
from ghn_models import GHN, batch_statistics, create

SPLITS = ("test", "deep", "dense", "bnfree", "wide")


@pytest.fixture(scope="module")
def ghn() -> GHN:
    torch.manual_seed(0)
    return create("ghn2", 10, 32).eval()


def network_of(split: str, index: int, channels: int, norm: str | None) -> Network:
    architecture = sample_networks(split, index, index + 1).table[0]
    torch.manual_seed(index)
    return replace(architecture, channels=channels, norm=norm).build(10, 32)


@torch.no_grad()
def both(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in double precision with all channels, and with the different ones."""
    network.double().to(memory_format=torch.channels_last)
    with batch_statistics(network):
        expected = network(images.double())
        with repeated_channels_once(network):
            return network(images.double()), expected


@settings(max_examples=15, deadline=None)
@given(
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 99),
    channels=st.sampled_from((32, 48, 80, 96, 128)),
    norm=st.booleans(),
)
def test_same_logits(split: str, index: int, channels: int, norm: bool) -> None:
    torch.manual_seed(0)
    ghn = create("ghn2", 10, 32).eval()
    network = network_of(split, index, channels, "bn" if norm else None)
    ghn(network, 32, symbolic_graph(network.architecture, 32, 10))
    folded, expected = both(network, torch.randn(2, 3, 32, 32))
    assert torch.allclose(folded, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


def test_less_is_computed(ghn: GHN, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of("test", 1, 256, "bn")
    ghn(network, 32, symbolic_graph(network.architecture, 32, 10))
    widths = []
    real = torch.nn.functional.conv2d

    def counted(x: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
        widths.append(weight.shape[0])
        return real(x, weight, *rest, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", counted)
    both(network, torch.randn(2, 3, 32, 32))
    plain, once = widths[: len(widths) // 2], widths[len(widths) // 2 :]
    assert max(plain) >= 1024
    assert max(once) == 128  # a whole head of attention, else 64


def test_random_weights_are_left_alone() -> None:
    network = network_of("test", 1, 96, "bn")
    images = torch.randn(2, 3, 32, 32)
    with batch_statistics(network), torch.no_grad():
        expected = network(images)
        with repeated_channels_once(network):
            assert torch.equal(network(images), expected)
        assert torch.equal(network(images), expected)
    assert not any("forward" in vars(module) for module in network.modules())


def test_channels_are_like_the_tensor_of_all() -> None:
    torch.manual_seed(0)
    # Functions of PyTorch take them like tensors, which types do not say.
    x: Any = RepeatedChannels(torch.randn(2, 5, 4, 4), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2]))
    y: Any = RepeatedChannels(torch.randn(2, 3, 4, 4), torch.tensor([2, 1, 0, 2, 2, 1, 0, 0]))
    z = torch.randn(2, 8, 4, 4)

    def whole(value: Any) -> Tensor:
        tensor: Tensor = value.full() if isinstance(value, RepeatedChannels) else value
        return tensor

    assert x.shape == x.full().shape
    assert torch.equal(x.full()[:, 5:], x.full()[:, :3])
    assert torch.equal(whole(x + y), x.full() + y.full())
    assert torch.equal(whole(x + x), 2 * x.full())
    assert torch.equal(whole(sum([x, y, z])), x.full() + y.full() + z)
    assert torch.equal(whole(z + x), z + x.full())
    assert torch.equal(whole(torch.cat([x, z, y], 1)), torch.cat([x.full(), z, y.full()], 1))
    assert torch.equal(whole(torch.cat([x, y])), torch.cat([x.full(), y.full()]))
    assert torch.equal(whole(x[:, :, ::2, 1:]), x.full()[:, :, ::2, 1:])
    assert torch.allclose(x.mean((2, 3)), x.full().mean((2, 3)))
    assert torch.equal(whole(torch.relu(x)), torch.relu(x.full()))
    assert torch.equal(x.flatten(1), x.full().flatten(1))
    gate = torch.randn(2, 8, 1, 1)
    assert torch.equal(whole(x * gate), x.full() * gate)
    gate[:, 5:] = gate[:, :3]
    assert isinstance(x * gate, RepeatedChannels)
    assert torch.equal(whole(x * gate), x.full() * gate)
    for values in (torch.tensor([1.0, 2, 3, 4, 5, 1, 2, 3]), torch.arange(8.0)):
        norm = nn.BatchNorm2d(8, track_running_stats=False)
        norm.weight.data, norm.bias.data = values, -values
        assert torch.allclose(whole(norm(x)), norm(x.full()), atol=1e-5)
