"""Floating-point operations of a network."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode


def count_operations(model: nn.Module, images: Tensor) -> float:
    """Return the operations for one image: two for a multiplication and addition of layers and attention.

    They are those that PyTorch's counter counts, whichever implementation runs: it does not know those of attention and
    LSTMs on CPUs, and does not see into fused layers of attention.

    Args:
        model: the network, in training or evaluation mode.
        images: (B, 3, H, W) images to call it with; both may be on the meta device.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports a compiler

    aten = torch.ops.aten
    formulas = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_fused_attention_overrideable: _attention,
        aten.mkldnn_rnn_layer: _lstm_layer,
    }
    # In a mode for functions, modules of attention do not take their fused path.
    with torch.no_grad(), BaseTorchFunctionMode(), FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        model(images)
    return float(counter.get_total_flops() / len(images))


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Return the operations for queries (B, h, N, d), keys (B, h, M, d) and values (B, h, M, e)."""
    scores = query[:-1].numel() * key[-2]
    return 2 * scores * (query[-1] + value[-1])


def _lstm_layer(sequence: torch.Size, weight_ih: torch.Size, weight_hh: torch.Size, *_: Any, **__: Any) -> int:
    """Return the operations for a sequence (T, B, features)."""
    return 2 * sequence[:-1].numel() * (weight_ih.numel() + weight_hh.numel())
