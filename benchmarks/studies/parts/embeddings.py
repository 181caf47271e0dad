"""Graphs of splits, and vectors of graphs: embeddings by a GHN, or histograms of primitives."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from deepnets import PRIMITIVES, ArchGraph
from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.graphs.graph_columns import GraphColumns
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.training_widths import with_training_widths
from deepnets.symbolic.block_tables import NAMES
from deepnets.symbolic.shapes import node_shapes
from ghn_models import GHN

Floats = NDArray[np.float64]

_META_BATCH = 8


def split_graphs(
    split: str, start: int, stop: int, image_size: int = 32, num_classes: int = 10, seed: int = 0
) -> list[ArchGraph]:
    """Return graphs of generated networks at their evaluation widths; those of train get training widths.

    Args:
        split: one of `deepnets.sampling.splits.SPLITS`.
        start, stop: range of indices in the split, without the last.
        image_size: 32 or 224.
        num_classes: outputs of the classifiers.
        seed: seed of the training widths.
    """
    networks = sample_networks(split, start, stop)
    if split == "train":
        rng = np.random.default_rng(seed)
        table = with_training_widths(networks.table, networks.num_params(image_size), rng)
    else:
        table = networks.architectures(image_size)
    return columns_graphs(table, networks.graphs, image_size, num_classes)


def columns_graphs(
    table: ArchitectureTable, columns: GraphColumns, image_size: int, num_classes: int
) -> list[ArchGraph]:
    """Return `ArchGraph`s with the shapes that follow from the architectures.

    Args:
        table: B architectures.
        columns: their B graphs, without shapes.
        image_size: 32 or 224.
        num_classes: outputs of the classifiers.
    """
    return columns.arch_graphs(node_shapes(table, columns, image_size, num_classes), NAMES)


@torch.no_grad()
def graph_embeddings(ghn: GHN, graphs: Sequence[ArchGraph]) -> Floats:
    """Return the (B, d) embeddings of graphs: means of their node features (DeepNets paper, section 5.2).

    Graphs of about the same size share a meta-batch.
    """
    order = np.argsort([len(graph) for graph in graphs], kind="stable")
    result = np.empty((len(graphs), ghn.config.hidden))
    for start in range(0, len(order), _META_BATCH):
        part = order[start : start + _META_BATCH]
        result[part] = ghn.embed([graphs[i] for i in part])[1].double().cpu().numpy()
    return result


def primitive_histogram(graphs: Sequence[ArchGraph]) -> Floats:
    """Return (B, 15) histograms, log(1 + nodes of each primitive): graphs without their edges and shapes."""
    counts = np.stack([np.bincount(graph.op, minlength=len(PRIMITIVES)) for graph in graphs])
    histogram: Floats = np.log1p(counts)
    return histogram
