"""Post-processing of predicted parameters before training (GHN-orth, Knyazev, 2022)."""

import torch
from torch import Tensor, nn

from deepnets.networks.weight_layers import named_weights
from deepnets.utils.errors import InputError


@torch.no_grad()
def orthogonalize(model: nn.Module, first_layer: int = 0) -> nn.Module:
    """Make the rows or columns of each weight orthonormal, whichever are fewer (section 3.2).

    Tiled weights have equal channels, which training cannot tell apart; a QR decomposition makes them different.

    Args:
        model: the network, changed in place.
        first_layer: earlier convolutions and linear layers keep their weights. Layers count from 0, those of the
            paper (L) from 1.

    Returns:
        The same network. Its classifier stays as it is.

    Raises:
        InputError: the network has no such layer.
    """
    for weight in _weights(model, first_layer):
        matrix = weight.flatten(1)
        tall = matrix if len(matrix) >= matrix.shape[1] else matrix.T
        q, r = torch.linalg.qr(tall.float())
        q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)  # a unique result: positive diagonal of R
        weight.copy_((q if tall is matrix else q.T).reshape(weight.shape))
    return model


@torch.no_grad()
def add_noise(
    model: nn.Module, beta: float, first_layer: int = 0, generator: torch.Generator | None = None
) -> nn.Module:
    """Add Gaussian noise, more to weights whose channels are more alike (section 3.1).

    Its standard deviation is beta times that of the correlations between channels.

    Args:
        model: the network, changed in place.
        beta: strength of the noise, 1e-5 to 3e-5 in the papers.
        first_layer: as for `orthogonalize`.
        generator: source of random numbers; by default that of the process.

    Returns:
        The same network. Its classifier stays as it is.

    Raises:
        InputError: a negative beta, or the network has no such layer.
    """
    if beta < 0:
        raise InputError(f"beta is {beta}; it must be 0 or more")
    for weight in _weights(model, first_layer):
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype).to(weight.device)
        weight.add_(beta * correlation_spread(weight) * noise)
    return model


def correlation_spread(weight: Tensor) -> Tensor:
    """Return the standard deviation of correlations between all pairs of channels, on the weight's larger side.

    The C x C correlations Z Z^T are never made: their sum is |sum_i z_i|^2, that of their squares |Z^T Z|_F^2.

    Shapes:
        (out, in, ...) -> ()
    """
    matrix = weight.flatten(1).float()
    matrix = matrix if len(matrix) >= matrix.shape[1] else matrix.T  # (C, K)
    centered = matrix - matrix.mean(1, keepdim=True)
    z = centered / centered.norm(dim=1, keepdim=True).clamp(min=1e-12)
    pairs = len(z) ** 2
    total, squares = z.sum(0).square().sum(), (z.T @ z).square().sum()
    variance: Tensor = (squares - total.square() / pairs) / max(pairs - 1, 1)
    return variance.clamp(min=0).sqrt()


def _weights(model: nn.Module, first: int) -> list[Tensor]:
    """Return the `named_weights` of a network in order, from `first` on, without the classifier's."""
    weights = [weight for _, weight, _ in named_weights(model)]
    if not 0 <= first < max(1, len(weights) - 1):
        raise InputError(
            f"the first layer is {first}; the network has {len(weights) - 1} before its classifier, from 0"
        )
    return weights[first:-1]
