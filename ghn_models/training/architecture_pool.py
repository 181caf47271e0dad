"""The architectures that a GHN is trained on, as meta-batches of networks without storage."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from deepnets import ArchGraph, Architecture
from deepnets.datasets.generation import SHARD_SIZE, split_path
from deepnets.datasets.samplers import first_that_fits, random_meta_batches
from deepnets.design_space.architecture_table import NO_EDGE, ArchitectureTable
from deepnets.networks.network import Network
from deepnets.networks.skip_init import on_meta_without_init
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.training_widths import sample_stride2_stems, sample_training_widths
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import symbolic_graphs
from deepnets.utils.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SizeLimits:
    """The largest sizes of training networks; those given as pairs grow from the first to the second during the run.

    Args:
        n_cells: number of cells.
        nodes: number of nodes of the graph.
        params: number of parameters at 32 channels with 10 classes.
        channels: width of the first cells; larger sampled widths are reduced to it.
        meta_batch_nodes: number of nodes of a meta-batch (DeepNets paper, section B.2.3).
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
        architecture: its architecture, with the width sampled for training.
        graph: its graph.
        module: the network on the meta device; batch norm has no running statistics.
    """

    architecture: Architecture
    graph: ArchGraph
    module: Network


class ArchitecturePool:
    """Architectures of the train split, from which meta-batches are sampled.

    Meta-batch i depends on (seed, i) and the limits alone, so that a run can be resumed and split over processes.

    Args:
        root: folder of the generated train split; without its file, the first `num` networks are sampled on the fly.
        num: number of architectures.
        image_size: 32 or 224.
        num_classes: outputs of the classifiers.
        seed: seed of the meta-batches.
        ghn3_imagenet_widths: networks have the widths of GHN-3 on ImageNet, and some small ones larger maps, see
            `sample_stride2_stems`.
        quiet: show no progress bar while networks are sampled.

    Raises:
        InputError: the file has fewer networks, or those of another split.
    """

    def __init__(
        self,
        root: Path | None,
        num: int,
        image_size: int,
        num_classes: int,
        seed: int,
        ghn3_imagenet_widths: bool = False,
        quiet: bool = False,
    ) -> None:
        self.image_size, self.num_classes, self.seed = image_size, num_classes, seed
        self.ghn3_imagenet_widths = ghn3_imagenet_widths
        path = None if root is None else split_path(root, "train")
        counted = 32 if ghn3_imagenet_widths else image_size  # the images that parameters are counted for
        if path is not None and path.exists():
            self.table, self.params, self.nodes = _read_architectures(path, num, counted)
        else:
            self.table, self.params, self.nodes = _sample_architectures(num, counted, quiet)

    def sha256(self) -> str:
        """Return the digest of the architectures and their sizes, whether from a file or sampled on the fly."""
        used = (self.table.ops != NO_EDGE).any(axis=(0, 1))  # a file may have room for more edges
        table = replace(self.table, ops=self.table.ops[..., used], inputs=self.table.inputs[..., used])
        digest = hashlib.sha256()
        for column in (self.params, self.nodes, *(getattr(table, field.name) for field in fields(table))):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def sample(
        self, step: int, meta_batch_size: int, limits: SizeLimits, progress: float = 1.0, share: slice = slice(None)
    ) -> list[TrainingNetwork]:
        """Sample the meta-batch of a step.

        Args:
            step: number of the step.
            meta_batch_size: number of networks.
            limits: largest sizes.
            progress: progress of the run, from 0 to 1.
            share: the networks to build, those of this process.

        Raises:
            InputError: no architecture, or hardly any meta-batch, is small enough.
        """
        allowed = self._allowed(limits, progress)
        rng = np.random.default_rng([self.seed, step])
        meta_batches = random_meta_batches(allowed, meta_batch_size, rng)
        rows = first_that_fits(meta_batches, self.nodes, limits.meta_batch_nodes)
        table = self.table.take(rows)
        channels, fc_dim = sample_training_widths(table, self.params[rows], rng, self.ghn3_imagenet_widths)
        widest = limits.channels[0] + (limits.channels[1] - limits.channels[0]) * progress
        channels = np.minimum(channels, 16 * int(widest / 16))
        architectures = [
            replace(table[i], channels=int(channels[i]), fc_dim=int(fc_dim[i])) for i in range(meta_batch_size)[share]
        ]
        networks = training_networks(architectures, self.image_size, self.num_classes)
        if self.ghn3_imagenet_widths and self.image_size == 224:
            for network in compress(networks, sample_stride2_stems(table, self.params[rows], rng)[share]):
                halve_stem_stride(network.module)
        return networks

    def _allowed(self, limits: SizeLimits, progress: float) -> Ints:
        """Return the rows of the architectures that are small enough."""
        cells, nodes, params = (a + (b - a) * progress for a, b in (limits.n_cells, limits.nodes, limits.params))
        allowed = np.flatnonzero((self.table.n_cells <= cells) & (self.nodes <= nodes) & (self.params <= params))
        if not len(allowed):
            raise InputError(
                f"none of {len(self.nodes)} architectures has at most {cells:.0f} cells, {nodes:.0f} nodes and "
                f"{params:.0f} parameters"
            )
        return allowed


def _read_architectures(path: Path, num: int, image_size: int) -> tuple[ArchitectureTable, Ints, Ints]:
    """Read the first networks of a file: architectures, and their numbers of parameters and of nodes."""
    file = NetworkFile(path, image_size)
    if file.header.split != "train":
        raise InputError(f"{path} has networks of {file.header.split}; GHNs are trained on those of train")
    if num > len(file):
        raise InputError(f"{path} has {len(file)} networks, but {num} are asked for")
    return file.table(slice(0, num)), file.num_params()[:num].astype(np.int64), file.num_nodes[:num].astype(np.int64)


def _sample_architectures(num: int, image_size: int, quiet: bool) -> tuple[ArchitectureTable, Ints, Ints]:
    """Sample what `_read_architectures` reads: the first networks of the train split, without their graphs."""
    tables, params, nodes = [], [], []
    with tqdm(total=num, unit=" networks", desc="train", disable=quiet) as bar:
        for start in range(0, num, SHARD_SIZE):
            networks = sample_networks("train", start, min(start + SHARD_SIZE, num))
            tables.append(networks.table)
            params.append(networks.num_params(image_size))
            nodes.append(networks.graphs.num_nodes)
            bar.update(len(networks.table))
    return ArchitectureTable.concatenate(tables), np.concatenate(params), np.concatenate(nodes)


def training_networks(
    architectures: Sequence[Architecture], image_size: int, num_classes: int
) -> list[TrainingNetwork]:
    """Build networks without storage, and their graphs."""
    with on_meta_without_init():
        modules = [architecture.build(num_classes=num_classes, image_size=image_size) for architecture in architectures]
    for module in modules:
        remove_running_statistics(module)
    graphs = symbolic_graphs(architectures, image_size, num_classes)
    return list(map(TrainingNetwork, architectures, graphs, modules))


def remove_running_statistics(module: nn.Module) -> None:
    """Make batch norm normalize by each batch: networks with predicted parameters have no other statistics."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def halve_stem_stride(network: Network) -> None:
    """Set the stride of the first convolution to 2 instead of 4, in a network for 224x224 images with a simple stem."""
    first = network.stem[0]
    assert isinstance(first, nn.Conv2d)
    first.stride = (2, 2)
