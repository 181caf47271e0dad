"""Weight layers: the convolutions and linear layers of a network, which initializers and scores are about."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

WeightLayer = _ConvNd | nn.Linear
"""Convolutions of any number of dimensions, transposed ones too, and linear layers."""


def named_weight_layers(model: nn.Module) -> Iterator[tuple[str, WeightLayer]]:
    """Yield the names and modules of convolutions and linear layers."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, WeightLayer))


def named_weights(model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield name, weight and bias of each convolution and linear layer, in the order of the modules.

    Queries, keys and values of `nn.MultiheadAttention`, packed into one weight, count as a linear layer.

    >>> [name for name, _, _ in named_weights(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.MultiheadAttention(4, 2)))]
    ['0.weight', '2.in_proj_weight', '2.out_proj.weight']
    """
    for prefix, module in model.named_modules():
        if isinstance(module, WeightLayer):
            yield f"{prefix}.weight".lstrip("."), module.weight, module.bias
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield f"{prefix}.in_proj_weight".lstrip("."), module.in_proj_weight, module.in_proj_bias
