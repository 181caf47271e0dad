"""Transforms of architecture graphs."""

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from deepnets.graphs.shortest_paths import shortest_paths
from deepnets.utils.errors import InputError


@functional_transform("virtual_edges")
class VirtualEdges(BaseTransform):  # type: ignore[misc]
    """Connects every node to all nodes that it reaches (DeepNets-1M paper, section 4.2).

    Sets `edge_index` to all pairs of nodes whose shortest path along the edges is at most `cutoff` long, and
    `edge_attr` to the length of the path (E,), which is 1 for the true edges. Lengths are int16: a network has tens of
    thousands of virtual edges, and passing them between processes limits the speed of a data loader.

    Args:
        cutoff: the longest path that becomes an edge, 50 in the papers.

    Raises:
        InputError: a cutoff below 1, or a graph whose nodes are not in a topological order.

    >>> chain = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    >>> virtual = VirtualEdges()(chain)
    >>> virtual.edge_index.tolist(), virtual.edge_attr.tolist()
    ([[0, 0, 1], [1, 2, 2]], [1, 2, 1])
    """

    def __init__(self, cutoff: int = 50) -> None:
        if not isinstance(cutoff, int) or cutoff < 1:
            raise InputError(f"cutoff is {cutoff}; it must be an integer, 1 or more")
        self.cutoff = cutoff

    def forward(self, data: Data) -> Data:
        """Add virtual edges to a graph."""
        sources, targets = data.edge_index.numpy()
        if (targets[1:] < targets[:-1]).any():
            order = np.argsort(targets, kind="stable")
            sources, targets = sources[order], targets[order]
        paths = shortest_paths(data.num_nodes, sources, targets)
        # As unsigned numbers the zeros of the diagonal, less one, are beyond any cutoff.
        linked = np.flatnonzero((paths - np.int16(1)).view(np.uint16) < min(self.cutoff, data.num_nodes))
        edge_index = np.empty((2, len(linked)), np.int64)
        np.floor_divide(linked, data.num_nodes, out=edge_index[1])
        np.subtract(linked, edge_index[1] * data.num_nodes, out=edge_index[0])
        data.edge_index = torch.from_numpy(edge_index)
        data.edge_attr = torch.from_numpy(paths.ravel()[linked])
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(cutoff={self.cutoff})"
