"""Shortest paths in architecture graphs, all pairs at once."""

import numpy as np
from numpy.typing import NDArray

from deepnets.utils.errors import InputError

_MAX_NODES = 10_000
_FAR = 2 * _MAX_NODES  # more than any path; a path added to it still fits int16


def shortest_paths(n_nodes: int, sources: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.int16]:
    """Return the lengths of the shortest paths between all nodes along the edges of a directed acyclic graph.

    Most nodes read one other node. Without the edges into all other nodes, the roots, the graph is a forest. A path
    to a node leads through its tree alone or through the root of its tree. So only rows of roots are minima, over
    the nodes that the root reads, and all other rows follow from them.

    Args:
        n_nodes: number of nodes N, numbered in a topological order.
        sources, targets: (E,) ends of the edges, sorted by target, without duplicates.

    Returns:
        (N, N) entry [v, u] is the number of edges from u to v, more than N where there is no path, 0 on the diagonal.

    Raises:
        InputError: an edge that does not lead from a lower to a higher number, or more than 10,000 nodes.

    >>> shortest_paths(3, np.array([0, 1]), np.array([1, 2])).tolist()[2]
    [2, 1, 0]
    """
    sources, targets = sources.astype(np.int64), targets.astype(np.int64)
    if n_nodes > _MAX_NODES:
        raise InputError(f"the graph has {n_nodes} nodes; shortest paths are computed for at most {_MAX_NODES}")
    if (sources >= targets).any():
        raise InputError("edges must lead from lower to higher node numbers (a topological order)")
    in_degree = np.bincount(targets, minlength=n_nodes)
    first_edge = np.cumsum(in_degree) - in_degree
    is_root = in_degree != 1
    parent = np.arange(n_nodes)
    parent[~is_root] = sources[first_edge[~is_root]]
    within, root, depth = _trees(parent, is_root)

    into_root = is_root[targets]
    to_root = _paths_to_roots(is_root, sources[into_root], targets[into_root], within, root, depth)
    root_number = np.cumsum(is_root) - 1
    return np.asarray(np.minimum(within, to_root[root_number[root]] + depth[:, None]))


def _paths_to_roots(
    is_root: NDArray[np.bool_],
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    within: NDArray[np.int16],
    root: NDArray[np.int64],
    depth: NDArray[np.int16],
) -> NDArray[np.int16]:
    """Return (roots, N) lengths of the shortest paths from all nodes to the roots.

    Args:
        is_root: (N,) whether a node is a root.
        sources, targets: ends of the edges into roots, sorted by target.
        within, root, depth: paths within trees, and the root and the depth of each node, see `_trees`.
    """
    roots = np.flatnonzero(is_root)
    root_number = np.cumsum(is_root) - 1
    target = root_number[targets]
    paths = np.full((len(roots), len(is_root)), _FAR, np.int16)
    if len(sources):
        first = np.flatnonzero(np.diff(target, prepend=-1))
        paths[target[first]] = np.minimum.reduceat(within[sources] + np.int16(1), first)
    paths[np.arange(len(roots)), roots] = 0
    # Paths through the root of the source's tree, in topological order of the targets.
    # Views instead of indexing, and arrays of one number instead of numbers, halve the time of this loop.
    to_target, rows = list((depth[sources] + np.int16(1))[:, None]), list(paths)
    for row, source_root, step in zip(target.tolist(), root_number[root[sources]].tolist(), to_target, strict=True):
        np.minimum(rows[row], rows[source_root] + step, out=rows[row])
    return paths


def _trees(
    parent: NDArray[np.int64], is_root: NDArray[np.bool_]
) -> tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int16]]:
    """Return the (N, N) lengths of paths within trees, and the root and the depth of every node."""
    n_nodes = len(parent)
    within = np.full((n_nodes, n_nodes), _FAR, np.int16)
    flat = within.ravel()
    node, ancestor = np.arange(n_nodes), np.arange(n_nodes)
    root, depth = ancestor.copy(), np.zeros(n_nodes, np.int16)
    length = 0
    while len(node):
        flat[node * n_nodes + ancestor] = length
        root[node], depth[node] = ancestor, length
        below = ~is_root[ancestor]
        node, ancestor = node[below], parent[ancestor[below]]
        length += 1
    return within, root, depth


def average_path_length(n_nodes: int, sources: NDArray[np.integer], targets: NDArray[np.integer]) -> float:
    """Return the average length of the shortest paths between pairs of nodes of the undirected graph.

    It is infinite if the graph is disconnected. All breadth-first searches run at once: the nodes within k steps of a
    node are a row of bits. A pair at distance d is out of reach for k = 0 to d - 1, so the sum of all distances is the
    sum of the pairs out of reach over all k.
    """
    node = np.arange(n_nodes)
    near = np.concatenate([node, sources, targets])
    far = np.concatenate([node, targets, sources])
    order = np.argsort(near, kind="stable")
    far, first = far[order], np.searchsorted(near[order], node)
    reached = np.zeros((n_nodes, -(-n_nodes // 64)), np.uint64)  # (N, N / 64)
    reached[node, node // 64] = np.uint64(1) << (node % 64).astype(np.uint64)
    pairs = n_nodes * (n_nodes - 1)
    total, missing = 0, pairs
    while missing:
        total += missing
        reached = np.bitwise_or.reduceat(reached[far], first, axis=0)
        before, missing = missing, n_nodes**2 - int(np.bitwise_count(reached).sum())
        if missing == before:
            return np.inf
    return total / pairs
