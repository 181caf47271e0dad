"""Networks on the meta device, whose layers are copies, have the structure of others and nothing in common."""

import torch
from torch import nn

from deepnets.design_space.architecture import Architecture
from deepnets.networks.skip_init import on_meta_without_init
from deepnets.sampling.sampler import sample_networks


def on_meta(architecture: Architecture) -> nn.Module:
    with on_meta_without_init():
        return architecture.build()


def test_copies_are_like_other_networks() -> None:
    table = sample_networks("train", 0, 12).table
    for architecture in (table[i] for i in range(12)):
        expected, found = architecture.build(), on_meta(architecture)
        assert repr(found) == repr(expected)
        state = {name: (value.shape, value.dtype) for name, value in expected.state_dict().items()}
        assert {name: (value.shape, value.dtype) for name, value in found.state_dict().items()} == state
        assert all(value.is_meta for value in found.state_dict().values())
        assert [p.requires_grad for p in found.parameters()] == [p.requires_grad for p in expected.parameters()]


def test_copies_have_nothing_in_common() -> None:
    architecture = sample_networks("train", 3, 4).table[0]
    first, second = on_meta(architecture), on_meta(architecture)
    assert not {id(m) for m in first.modules()} & {id(m) for m in second.modules()}
    tensors = [{id(t) for t in (*network.parameters(), *network.buffers())} for network in (first, second)]
    assert not tensors[0] & tensors[1]
    before = repr(second), len(second.state_dict())
    for module in first.modules():
        module.register_forward_hook(print)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = None
        module.eval()
    assert (repr(second), len(second.state_dict())) == before
    assert all(module.training and not module._forward_hooks for module in second.modules())
    assert on_meta(architecture).training


def test_one_copy_filled_leaves_the_other_on_meta() -> None:
    architecture = sample_networks("train", 3, 4).table[0]
    first, second = on_meta(architecture), on_meta(architecture)
    first.to_empty(device="cpu")
    assert not any(p.is_meta for p in first.parameters())
    assert all(p.is_meta for p in second.parameters())
    assert next(first.parameters()).dtype == torch.float32
