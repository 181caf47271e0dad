"""The architectures that a GHN is trained on, as meta-batches of networks without storage."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepnets import ArchGraph, Architecture, symbolic_graph
from deepnets.generate import split_path
from deepnets.network_file import NetworkFile
from deepnets.sampling import sample_networks
from deepnets.table import ArchitectureTable
from deepnets.uninitialized import without_storage
from deepnets.widths import training_widths

_DRAWS = 1000  # of one meta-batch


@dataclass(frozen=True)
class Limits:
    """How large training networks may be; limits given as pairs grow from the first to the second over the run.

    Args:
        n_cells: number of cells.
        nodes: nodes of the graph.
        params: parameters at 32 channels with 10 classes.
        channels: width of the first cells; wider ones are cut down to it.
        meta_batch_nodes: nodes of a meta-batch (DeepNets paper, section B.2.3).
    """

    n_cells: tuple[int, int] = (18, 18)
    nodes: tuple[int, int] = (10_000, 10_000)
    params: tuple[float, float] = (1e7, 1e7)
    channels: tuple[int, int] = (128, 128)
    meta_batch_nodes: int = 2200


@dataclass(frozen=True)
class TrainingNetwork:
    """A network to predict parameters for.

    Args:
        architecture: what it is, with the width drawn for training.
        graph: its graph.
        module: itself, on the meta device; batch norm has no running statistics.
    """

    architecture: Architecture
    graph: ArchGraph
    module: nn.Module


class ArchitecturePool:
    """Architectures of the train split, of which meta-batches are drawn.

    Meta-batch i depends on (seed, i) and the limits alone, so that a run can be resumed and split over processes.

    Args:
        root: folder of the generated train split; without one, the first `num` networks are drawn on the fly.
        num: number of architectures.
        image_size: 32 or 224.
        num_classes: outputs of the classifiers.
        seed: of the meta-batches.

    Raises:
        ValueError: the file has fewer networks.
    """

    def __init__(self, root: Path | None, num: int, image_size: int, num_classes: int, seed: int) -> None:
        self.image_size, self.num_classes, self.seed = image_size, num_classes, seed
        path = None if root is None else split_path(root, "train")
        if path is not None and path.exists():
            file = NetworkFile(path, image_size)
            if num > len(file):
                raise ValueError(f"{path} has {len(file)} networks, but {num} are asked for")
            self.table: ArchitectureTable = file.table(slice(0, num))
            self.params = np.asarray(file.num_params()[:num])
            self.nodes = np.asarray(file.num_nodes[:num])
        else:
            networks = sample_networks("train", 0, num)
            self.table = networks.table
            self.params = networks.num_params_32 if image_size == 32 else networks.num_params_224
            self.nodes = np.diff(networks.graphs.node_ptr)

    def draw(
        self, step: int, meta_batch_size: int, limits: Limits, progress: float = 1.0, share: slice = slice(None)
    ) -> list[TrainingNetwork]:
        """Meta-batch `step`.

        Args:
            step: which one.
            meta_batch_size: number of networks.
            limits: how large they may be.
            progress: of the run, from 0 to 1.
            share: which of the networks are made.

        Raises:
            ValueError: no architecture is small enough, or hardly any meta-batch.
        """
        allowed = self._allowed(limits, progress)
        rng = np.random.default_rng([self.seed, step])
        for _ in range(_DRAWS):
            rows = rng.choice(allowed, meta_batch_size, replace=len(allowed) < meta_batch_size)
            if self.nodes[rows].sum() <= limits.meta_batch_nodes:
                break
        else:
            raise ValueError(
                f"{_DRAWS} random meta-batches of {meta_batch_size} networks all had more than "
                f"{limits.meta_batch_nodes} nodes; use smaller ones or allow more"
            )
        table = self.table.rows(rows)
        channels, fc_dim = training_widths(table, self.params[rows], rng)
        widest = limits.channels[0] + (limits.channels[1] - limits.channels[0]) * progress
        channels = np.minimum(channels, 16 * int(widest / 16))
        drawn = [
            replace(table[i], channels=int(channels[i]), fc_dim=int(fc_dim[i])) for i in range(meta_batch_size)[share]
        ]
        return [training_network(architecture, self.image_size, self.num_classes) for architecture in drawn]

    def _allowed(self, limits: Limits, progress: float) -> NDArray[np.int64]:
        cells, nodes, params = (a + (b - a) * progress for a, b in (limits.n_cells, limits.nodes, limits.params))
        allowed = np.flatnonzero((self.table.n_cells <= cells) & (self.nodes <= nodes) & (self.params <= params))
        if not len(allowed):
            raise ValueError(
                f"none of {len(self.nodes)} architectures has at most {cells:.0f} cells, {nodes:.0f} nodes and "
                f"{params:.0f} parameters"
            )
        return allowed


def training_network(architecture: Architecture, image_size: int, num_classes: int) -> TrainingNetwork:
    """A network without storage, and its graph."""
    with without_storage():
        module = architecture.build(num_classes=num_classes, image_size=image_size)
    without_running_statistics(module)
    return TrainingNetwork(architecture, symbolic_graph(architecture, image_size, num_classes), module)


def without_running_statistics(module: nn.Module) -> None:
    """Batch norm normalizes by each batch, which is all that predicted parameters have."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
