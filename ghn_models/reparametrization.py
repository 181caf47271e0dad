"""Reparametrized layers: what spectral norm and weight norm keep besides the weight fits predicted weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_POWER_ITERATIONS = 30


@torch.no_grad()
def update_reparametrizations(model: nn.Module, written: set[str]) -> set[str]:
    """Make reparametrizations consistent with weights that were overwritten.

    Spectral norm gets the singular vectors of the new weight; weight norm gets its norms, so that the layer has the
    predicted weight.

    Args:
        model: the network.
        written: names of the parameters that were overwritten.

    Returns:
        Names of parameters that were set besides.
    """
    updated = set()
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        for owner, parametrizations in getattr(module, "parametrizations", {}).items():
            path = f"{prefix}parametrizations.{owner}"
            first: Any = parametrizations[0]
            if isinstance(first, _WeightNorm) and f"{path}.original1" in written:
                _copy_norms(parametrizations.original0, parametrizations.original1, first.dim)
                updated.add(f"{path}.original0")
            elif isinstance(first, _SpectralNorm) and f"{path}.original" in written and hasattr(first, "_u"):
                weight = first._reshape_weight_to_matrix(parametrizations.original)
                first._power_method(weight, _POWER_ITERATIONS)
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm) and f"{prefix}{hook.name}_v" in written:
                _copy_norms(getattr(module, f"{hook.name}_g"), getattr(module, f"{hook.name}_v"), hook.dim)
                updated.add(f"{prefix}{hook.name}_g")
            elif isinstance(hook, SpectralNorm) and f"{prefix}{hook.name}_orig" in written:
                for _ in range(_POWER_ITERATIONS):
                    hook.compute_weight(module, do_power_iteration=True)
    return updated


def _copy_norms(norms: Tensor, weight: Tensor, dim: int | None) -> None:
    norms.copy_(torch.norm_except_dim(weight, 2, -1 if dim is None else dim))
