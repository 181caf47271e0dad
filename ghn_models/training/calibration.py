"""The scale of the weights that an untrained GHN predicts."""

from collections.abc import Sequence

import torch
from torch import nn

from ghn_models.hypernetwork import GHN
from ghn_models.modules.decoder import ConvDecoder
from ghn_models.training.architecture_pool import TrainingNetwork

_MIN_SIZE = 1000  # smaller weights are not measured


@torch.no_grad()
def calibrate(ghn: GHN, networks: Sequence[TrainingNetwork], scale: float) -> float:
    """Scale the last layer of the decoder, so that predicted weights have `scale` times the size of He's.

    An untrained GHN predicts weights that are ten to fifty times too small. Batch norm hides this, but in networks
    without it no signal reaches the classifier, and the GHN does not learn to predict them. Predicted channels are
    correlated: with weights as large as He's signals grow from layer to layer, with half the size they stay constant.

    Args:
        ghn: the GHN, which is changed in place.
        networks: networks whose predicted weights are measured.
        scale: root mean square of weights, relative to sqrt(2 / fan_in) (He et al., 2015).

    Returns:
        The factor.
    """
    predicted = ghn.predict([n.graph for n in networks], [n.module for n in networks])
    weights = [w for values in predicted for w in values.values() if w.dim() == 4 and w.numel() >= _MIN_SIZE]
    ratios = torch.stack([(w.square().mean() * w[0].numel() / 2).sqrt() for w in weights])
    factor = scale / ratios.mean().item()
    last: nn.Linear = ghn.decoder.conv2 if isinstance(ghn.decoder, ConvDecoder) else ghn.decoder.fc2
    last.weight.mul_(factor)
    last.bias.mul_(factor)
    return factor
