"""Attention of few tokens with narrow heads.

PyTorch's fused kernel for CPUs is made for heads of 64 channels. With the 4 to 16 of the design space its products are
too thin to fill the vector units, and in bfloat16 its backward pass takes six times as long as plain products of
matrices (121 tokens, 4 channels).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from deepnets.networks.kernels.autograd_state import recorded

_FEW = 256  # tokens; the products of more do not fit into caches


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(D)) V, quickly.

    Shapes:
        3 x (B, heads, T, D) -> (B, heads, T, D)
    """
    if recorded(query) and query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[2] <= _FEW:
        scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)  # (B, heads, T, T)
        outputs: Tensor = scores.softmax(3) @ value
        return outputs
    return F.scaled_dot_product_attention(query, key, value)
