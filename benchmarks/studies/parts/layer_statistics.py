"""Statistics of single networks' layers: variance of activations (GHN-3 paper, Figure 6), correlation of channels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.core.evaluation_networks import network_at
from benchmarks.initializers.base import Apply, InitContext
from benchmarks.initializers.ghn import ORTH_SUFFIX, predict_with
from benchmarks.initializers.random_init import randinit
from deepnets.networks.weight_layers import named_weight_layers
from ghn_models import GHN, batch_statistics


@dataclass(frozen=True)
class NetworkFactory:
    """Builds networks with each of the initializers that are compared.

    Args:
        ghn, name: the GHN and its name.
        image_size, seed: image size and seed of the networks.
        beta: strength of the noise on predicted weights before they are made orthogonal (GHN-orth).
        orth_layer: first layer that GHN-orth makes orthogonal.
    """

    ghn: GHN
    name: str
    image_size: int
    seed: int
    beta: float
    orth_layer: int

    @property
    def initializers(self) -> dict[str, Apply]:
        """The compared initializers by name: random, the GHN, and GHN-orth."""
        return {
            "randinit": randinit,
            self.name: predict_with(self.ghn, None),
            f"{self.name}{ORTH_SUFFIX}": predict_with(self.ghn, self.orth_layer),
        }

    def build(self, network: str, initializer: str) -> nn.Module:
        """Return a network by name; equal arguments give equal networks."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = network_at(network, 0).build(self.image_size, self.ghn.config.num_classes)[0]
        generator = torch.Generator().manual_seed(self.seed)
        beta = self.beta if initializer.endswith(ORTH_SUFFIX) else 0.0
        self.initializers[initializer](model, InitContext(network, None, None, self.image_size, generator, beta))
        return model


@torch.no_grad()
def activation_variances(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Return the variance of all outputs of each convolution and linear layer, in the order of execution.

    Batch norm uses the statistics of the mini-batch, as always with predicted parameters.
    """
    variances: dict[str, float] = {}

    def listen(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: variances.__setitem__(name, output.float().var().item())

    handles = [module.register_forward_hook(listen(name)) for name, module in named_weight_layers(model)]
    try:
        with batch_statistics(model):
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return variances


def channel_correlations(weight: Tensor) -> Tensor:
    """Return the Pearson correlations of all pairs of different output channels (GHN-orth, Figure 2).

    A channel without variance has no correlation and counts as uncorrelated.

    Shapes:
        (out, in, ...) -> (out * (out - 1) / 2,)
    """
    matrix = weight.detach().flatten(1).double()
    centered = matrix - matrix.mean(1, keepdim=True)
    unit = nn.functional.normalize(centered, dim=1, eps=1e-12)
    rows, columns = torch.triu_indices(len(unit), len(unit), 1)
    return (unit @ unit.T)[rows, columns].clamp(-1, 1)
