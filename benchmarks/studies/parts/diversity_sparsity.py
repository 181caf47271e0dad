"""Diversity and sparsity of predicted parameters (DeepNets paper, section C.3, Table 12)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepnets import ArchGraph
from deepnets.utils.errors import InputError
from ghn_models import GHN, GraphBatch
from ghn_models.inputs.prediction_targets import ParameterKind, PredictionTarget, Shape

Floats = NDArray[np.float64]

SMALL = 0.05
"""Weights with a smaller magnitude count as zero (section C.3.2)."""
_META_BATCH = 8
_CLASSIFIER = (ParameterKind.CLASSIFIER_WEIGHT, ParameterKind.CLASSIFIER_BIAS)


@dataclass(frozen=True, eq=False)
class PredictedWeights:
    """Weights that a GHN predicts for some networks.

    Shapes:
        of_shape: (n, out * in * height * width) all weights of one shape.
        first_layer_sparsity: (B,) sparsity of the first weight of each network, 0 to 1.
    """

    of_shape: Tensor
    first_layer_sparsity: Floats


@torch.no_grad()
def predict_weights(ghn: GHN, graphs: Sequence[ArchGraph], shape: Shape) -> PredictedWeights:
    """Predict all weights of a shape, and the first weight of each network; other parameters are not decoded.

    Raises:
        InputError: there are fewer than two weights of the shape.
    """
    of_shape, sparsities = [], []
    for start in range(0, len(graphs), _META_BATCH):
        batch = GraphBatch.from_graphs(graphs[start : start + _META_BATCH])
        firsts = [first_layer(targets) for targets in batch.targets]
        needed = tuple(
            tuple(t for t in targets if t is first or t.kind in _CLASSIFIER or _is_weight(t, shape))
            for targets, first in zip(batch.targets, firsts, strict=True)
        )
        predictions = ghn.predict(replace(batch, targets=needed))
        for targets, first, values in zip(needed, firsts, predictions, strict=True):
            of_shape += [values[t.names[0]].flatten().cpu() for t in targets if _is_weight(t, shape)]
            sparsities.append(sparsity(values[first.names[0]]))
    if len(of_shape) < 2:
        raise InputError(f"{len(of_shape)} weights have the shape {shape}; diversity needs two or more")
    return PredictedWeights(torch.stack(of_shape), np.array(sparsities))


def first_layer(targets: Iterable[PredictionTarget]) -> PredictionTarget:
    """Return the first weight among the parameters of a network."""
    return next(target for target in targets if target.kind is ParameterKind.WEIGHT)


def _is_weight(target: PredictionTarget, shape: Shape) -> bool:
    return target.kind is ParameterKind.WEIGHT and target.shape == shape


def sparsity(weight: Tensor) -> float:
    """Return the share of weights with a magnitude below 0.05, 0 to 1 (section C.3.2).

    >>> sparsity(torch.tensor([0.01, -0.01, 1.0, 2.0]))
    0.5
    """
    return float((weight.abs() < SMALL).double().mean())


def cosine_distances(tensors: Tensor) -> Tensor:
    """Return (n, n) absolute cosine distances 1 - |cos| between flat tensors (n, k), 0 to 1 (section C.3.1).

    Their mean, with the zeros of the diagonal, is the diversity.
    """
    unit = nn.functional.normalize(tensors.double(), dim=1)
    return (1 - (unit @ unit.T).abs()).clamp(min=0)


def default_sparsity(first: PredictionTarget) -> float:
    """Return the expected `sparsity` of PyTorch's initialization, uniform within 1 / sqrt(fan_in)."""
    _, channels, height, width = first.shape
    fan_in = channels * height * width
    return float(min(1.0, SMALL * fan_in**0.5))
