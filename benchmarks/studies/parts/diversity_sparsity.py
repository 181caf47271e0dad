"""Diversity and sparsity of predicted parameters (DeepNets paper, section C.3, Table 12)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepnets import ArchGraph
from ghn_models import GHN, GraphBatch
from ghn_models.inputs.prediction_targets import ParameterKind, PredictionTarget, Shape

Floats = NDArray[np.float64]

SMALL = 0.05
"""Weights of a smaller magnitude count as zero (section C.3.2)."""
_META_BATCH = 8
_CLASSIFIER = (ParameterKind.CLASSIFIER_WEIGHT, ParameterKind.CLASSIFIER_BIAS)


@dataclass(frozen=True, eq=False)
class PredictedTensors:
    """What a GHN predicts for some networks.

    Shapes:
        of_shape: (n, out * in * height * width) all weights of one shape.
        small: (B,) share of the weights of each network's first layer that are close to zero, 0 to 1.
    """

    of_shape: Tensor
    small: Floats


@torch.no_grad()
def predicted_tensors(ghn: GHN, graphs: Sequence[ArchGraph], shape: Shape) -> PredictedTensors:
    """All weights of a shape, and the sparsity of first layers; other parameters are not decoded.

    Raises:
        ValueError: there are fewer than two weights of the shape.
    """
    found, small = [], []
    for start in range(0, len(graphs), _META_BATCH):
        batch = GraphBatch.from_graphs(graphs[start : start + _META_BATCH])
        firsts = [first_layer(targets) for targets in batch.targets]
        wanted = tuple(
            tuple(t for t in targets if t is first or t.kind in _CLASSIFIER or _is_weight(t, shape))
            for targets, first in zip(batch.targets, firsts, strict=True)
        )
        predictions = ghn.predict(replace(batch, targets=wanted))
        for targets, first, values in zip(wanted, firsts, predictions, strict=True):
            found += [values[t.names[0]].flatten().cpu() for t in targets if _is_weight(t, shape)]
            small.append(sparsity(values[first.names[0]]))
    if len(found) < 2:
        raise ValueError(f"{len(found)} weights have the shape {shape}; diversity needs two or more")
    return PredictedTensors(torch.stack(found), np.array(small))


def first_layer(those: Iterable[PredictionTarget]) -> PredictionTarget:
    """The first weight among the parameters of a network."""
    return next(target for target in those if target.kind is ParameterKind.WEIGHT)


def _is_weight(target: PredictionTarget, shape: Shape) -> bool:
    return target.kind is ParameterKind.WEIGHT and target.shape == shape


def sparsity(weight: Tensor) -> float:
    """Share of weights whose magnitude is below 0.05, 0 to 1 (section C.3.2)."""
    return (weight.abs() < SMALL).double().mean().item()


def cosine_distances(tensors: Tensor) -> Tensor:
    """(n, n) absolute cosine distances 1 - |cos| between flat tensors (n, k), 0 to 1 (section C.3.1).

    Their mean is the diversity; the diagonal of zeros is part of it.
    """
    unit = nn.functional.normalize(tensors.double(), dim=1)
    return (1 - (unit @ unit.T).abs()).clamp(min=0)


def default_sparsity(first: PredictionTarget) -> float:
    """The expected `sparsity` of PyTorch's initialisation, uniform within 1 / sqrt(fan_in)."""
    _, channels, height, width = first.shape
    return min(1.0, SMALL * (channels * height * width) ** 0.5)
