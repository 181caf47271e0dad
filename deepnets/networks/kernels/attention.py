"""Attention of few tokens with narrow heads.

PyTorch's fused kernel for CPUs is tuned for heads of 64 channels. With the 4 to 16 channels of the design space its
matrices are too narrow for the vector units: in bfloat16 its backward pass takes six times as long as plain matrix
products (121 tokens, 4 channels).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from deepnets.networks.kernels.autograd_state import is_recording

_MAX_TOKENS = 256  # the products of more do not fit into caches


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(Q K^T / sqrt(D)) V.

    Shapes:
        query, key, value (B, heads, T, D) -> (B, heads, T, D)
    """
    is_own = is_recording(query) and query.device.type == "cpu" and query.dtype == torch.bfloat16
    if is_own and query.shape[2] <= _MAX_TOKENS:
        scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)  # (B, heads, T, T)
        outputs: Tensor = scores.softmax(3) @ value
        return outputs
    return F.scaled_dot_product_attention(query, key, value)
