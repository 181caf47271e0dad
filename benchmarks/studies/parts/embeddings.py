"""Networks of splits as graphs, and graphs as vectors: mean node features of a GHN, or counted primitives."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from deepnets import PRIMITIVES, ArchGraph
from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.sampling.sampler import Networks, sample_networks
from deepnets.sampling.training_widths import with_training_widths
from deepnets.symbolic.block_tables import NAMES
from deepnets.symbolic.shapes import node_shapes
from ghn_models import GHN

Floats = NDArray[np.float64]

_META_BATCH = 8


def split_graphs(
    split: str, start: int, stop: int, image_size: int = 32, num_classes: int = 10, seed: int = 0
) -> list[ArchGraph]:
    """Graphs of generated networks, at the widths they are evaluated with; those of train get widths as in training.

    Args:
        split: one of `deepnets.sampling.splits.SPLITS`.
        start, stop: the first network, and the one behind the last.
        image_size, num_classes: 32 or 224, and outputs of the classifiers.
        seed: of the widths of train.
    """
    networks = sample_networks(split, start, stop)
    return columns_graphs(used_table(split, networks, image_size, seed), networks.graphs, image_size, num_classes)


def used_table(split: str, networks: Networks, image_size: int, seed: int) -> ArchitectureTable:
    """Architectures with the widths of `split_graphs`."""
    if split != "train":
        return networks.architectures(image_size)
    params = networks.num_params(image_size)
    return with_training_widths(networks.table, params, np.random.default_rng(seed))


def columns_graphs(
    table: ArchitectureTable, columns: GraphColumns, image_size: int, num_classes: int
) -> list[ArchGraph]:
    """Graphs from columns, with the shapes that follow from the architectures."""
    return columns.arch_graphs(node_shapes(table, columns, image_size, num_classes), NAMES)


@torch.no_grad()
def graph_embeddings(ghn: GHN, graphs: Sequence[ArchGraph]) -> Floats:
    """Means of node features (DeepNets paper, section 5.2).

    Returns:
        (B, d) one embedding for each graph. Graphs of about the same size share a meta-batch.
    """
    order = np.argsort([len(graph) for graph in graphs], kind="stable")
    result = np.empty((len(graphs), ghn.config.hidden))
    for start in range(0, len(order), _META_BATCH):
        part = order[start : start + _META_BATCH]
        result[part] = ghn.embed([graphs[i] for i in part])[1].double().cpu().numpy()
    return result


def primitive_histogram(graphs: Sequence[ArchGraph]) -> Floats:
    """(B, 15) logarithm of 1 + nodes of each primitive: what can be known of a network without its edges and shapes."""
    counts = np.stack([np.bincount(graph.op, minlength=len(PRIMITIVES)) for graph in graphs])
    histogram: Floats = np.log1p(counts)
    return histogram
