"""Concatenated maps and their derivatives equal those of `torch.cat`, and gradients are dense."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepnets.networks.kernels.concatenation import concatenate
from tests.support.derivatives import derivatives

LAYOUTS = (torch.contiguous_format, torch.channels_last)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.sampled_from(LAYOUTS))
@settings(max_examples=20, deadline=None)
def test_derivatives_are_those_of_pytorch(widths: list[int], layout: torch.memory_format) -> None:
    maps = [torch.randn(2, C, 3, 4).double().contiguous(memory_format=layout).requires_grad_() for C in widths]
    ours = derivatives(maps, lambda: concatenate(maps))
    theirs = derivatives(maps, lambda: torch.cat(maps, dim=1))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_dense(layout: torch.memory_format) -> None:
    maps = [torch.randn(2, C, 3, 4).contiguous(memory_format=layout).requires_grad_() for C in (2, 3)]
    for joined, dense in ((concatenate(maps), True), (torch.cat(maps, dim=1), False)):
        gradients = torch.autograd.grad(joined.square().sum(), maps)
        assert all(gradient.is_contiguous(memory_format=layout) == dense for gradient in gradients)
