"""Layers of single networks: variance of activations (GHN-3 paper, Figure 6) and correlation of channels (GHN-orth)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from benchmarks.core.evaluation_networks import network_at
from benchmarks.initializers.base import Apply, InitContext
from benchmarks.initializers.ghn import ORTH_SUFFIX, predict_with
from benchmarks.initializers.random_init import randinit
from ghn_models import GHN, batch_statistics


@dataclass(frozen=True)
class Initialised:
    """Makes a network with one of the initialisations that are compared.

    Args:
        ghn, name: the GHN and what it is called.
        image_size, seed: of the networks.
        beta, orth_layer: noise and first layer of GHN-orth.
    """

    ghn: GHN
    name: str
    image_size: int
    seed: int
    beta: float
    orth_layer: int

    @property
    def kinds(self) -> dict[str, Apply]:
        """What gives a network its parameters, by name."""
        orth = f"{self.name}{ORTH_SUFFIX}"
        return {
            "randinit": randinit,
            self.name: predict_with(self.ghn, None),
            orth: predict_with(self.ghn, self.orth_layer),
        }

    def network(self, network: str, kind: str) -> nn.Module:
        """A network by name; equal for equal arguments."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = network_at(network, 0).build(self.image_size, self.ghn.config.num_classes)[0]
        generator = torch.Generator().manual_seed(self.seed)
        beta = self.beta if kind.endswith(ORTH_SUFFIX) else 0.0
        self.kinds[kind](model, InitContext(network, None, None, self.image_size, generator, beta))
        return model


def weighted_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Convolutions and linear layers with their names."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, _ConvNd | nn.Linear))


@torch.no_grad()
def activation_variances(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Variance of all outputs of each convolution and linear layer, in the order of execution.

    Batch norm uses the statistics of the mini-batch, as everywhere with predicted parameters.
    """
    variances: dict[str, float] = {}

    def listen(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: variances.__setitem__(name, output.float().var().item())

    handles = [module.register_forward_hook(listen(name)) for name, module in weighted_layers(model)]
    try:
        with batch_statistics(model):
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return variances


def channel_correlations(weight: Tensor) -> Tensor:
    """Pearson correlations of all pairs of different output channels (GHN-orth, Figure 2).

    A channel without variance, which has no correlation, counts as uncorrelated.

    Shapes:
        (out, in, ...) -> (out * (out - 1) / 2,)
    """
    matrix = weight.detach().flatten(1).double()
    centred = matrix - matrix.mean(1, keepdim=True)
    unit = nn.functional.normalize(centred, dim=1, eps=1e-12)
    rows, columns = torch.triu_indices(len(unit), len(unit), 1)
    return (unit @ unit.T)[rows, columns].clamp(-1, 1)
