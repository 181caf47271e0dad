"""Meta-batches: several architecture graphs as the tensors that a GHN reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.utils.errors import InputError
from ghn_models.inputs.prediction_targets import PredictionTarget, find_targets

CUTOFF = 50
"""Length of the longest shortest paths that count (s_max of the DeepNets paper, section 4.2)."""


@dataclass(frozen=True)
class GraphBatch:
    """A meta-batch of B graphs with N nodes together.

    Shapes:
        graphs: the B graphs.
        primitive: (N,) int64.
        shape: (N, 4) int64, zeros where a node has none.
        distances: for each graph (n, n) int16; entry [i, j] is the length of the shortest path from i to j, negative
            where the path leads from j to i, 0 where there is none, or none of at most 50 edges.
        targets: for each graph the parameters to predict.
    """

    graphs: tuple[ArchGraph, ...]
    primitive: Tensor
    shape: Tensor
    distances: tuple[Tensor, ...]
    targets: tuple[tuple[PredictionTarget, ...], ...]

    @classmethod
    def from_graphs(cls, graphs: Sequence[ArchGraph]) -> "GraphBatch":
        """Return the meta-batch of some graphs, on the CPU.

        Raises:
            InputError: there is no graph.
        """
        if not graphs:
            raise InputError("there is no graph; a meta-batch has one or more")
        return cls(
            tuple(graphs),
            torch.from_numpy(np.concatenate([graph.op for graph in graphs]).astype(np.int64)),
            torch.from_numpy(np.concatenate([graph.shape for graph in graphs]).astype(np.int64)),
            tuple(torch.from_numpy(_signed_distances(graph)) for graph in graphs),
            tuple(tuple(find_targets(graph)) for graph in graphs),
        )

    @property
    def sizes(self) -> list[int]:
        """Number of nodes of each graph."""
        return [len(graph) for graph in self.graphs]

    @property
    def offsets(self) -> list[int]:
        """Number of nodes before each graph."""
        return list(accumulate(self.sizes[:-1], initial=0))

    def to(self, device: torch.device | str) -> "GraphBatch":
        """Return the same meta-batch on a device."""
        distances = tuple(d.to(device, non_blocking=True) for d in self.distances)
        return replace(self, primitive=self.primitive.to(device), shape=self.shape.to(device), distances=distances)


def _signed_distances(graph: ArchGraph) -> NDArray[np.int16]:
    forward = graph.distances(CUTOFF).astype(np.int16)
    return forward - forward.T
