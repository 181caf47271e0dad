"""Shortest paths in architecture graphs, all pairs at once."""

import numpy as np
from numpy.typing import NDArray

_MAX_NODES = 10_000
_FAR = 2 * _MAX_NODES  # more than any path; a path added to it still fits int16


def shortest_paths(n_nodes: int, sources: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.int16]:
    """Lengths of the shortest paths between all nodes along the edges of a directed acyclic graph.

    Most nodes read one other node, so the graph is a forest once the edges into all other nodes, the roots, are
    taken out. Within a tree the path is unique; only rows of roots need a minimum over what they read, one vector
    operation for each of their edges.

    Args:
        n_nodes: number of nodes N, numbered in a topological order.
        sources, targets: (E,) ends of the edges, sorted by target, without duplicates.

    Returns:
        (N, N) entry [v, u] is the number of edges from u to v, more than N where there is no path, 0 on the diagonal.

    Raises:
        ValueError: an edge that does not lead from a lower to a higher number.
    """
    sources, targets = sources.astype(np.int64), targets.astype(np.int64)
    if n_nodes > _MAX_NODES:
        raise ValueError(f"the graph has {n_nodes} nodes; shortest paths are computed for at most {_MAX_NODES}")
    if (sources >= targets).any():
        raise ValueError("edges must lead from lower to higher node numbers (a topological order)")
    in_degree = np.bincount(targets, minlength=n_nodes)
    first_edge = np.cumsum(in_degree) - in_degree
    is_root = in_degree != 1
    parent = np.arange(n_nodes)
    parent[~is_root] = sources[first_edge[~is_root]]
    within, root, depth = _trees(parent, is_root)

    roots = np.flatnonzero(is_root)
    row_of = np.cumsum(is_root) - 1
    into_root = is_root[targets]
    read, row = sources[into_root], row_of[targets[into_root]]
    rows = np.full((len(roots), n_nodes), _FAR, np.int16)
    if len(read):
        first = np.flatnonzero(np.diff(row, prepend=-1))
        rows[row[first]] = np.minimum.reduceat(within[read] + np.int16(1), first)
    rows[np.arange(len(roots)), roots] = 0
    # Views instead of indexing, and arrays of one number instead of numbers, halve the time of this loop.
    steps, views = list((depth[read] + np.int16(1))[:, None]), list(rows)
    for target, tree, step in zip(row.tolist(), row_of[root[read]].tolist(), steps, strict=True):
        np.minimum(views[target], views[tree] + step, out=views[target])
    return np.minimum(within, rows[row_of[root]] + depth[:, None])


def _trees(
    parent: NDArray[np.int64], is_root: NDArray[np.bool_]
) -> tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int16]]:
    """Paths within the trees (N, N), the root and the depth of every node."""
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
    """Average length of the shortest paths between pairs of nodes of the undirected graph, infinite if disconnected.

    All breadth-first searches run at once: the nodes within k steps of a node are a row of bits. A pair at distance
    d is out of reach for k = 0 to d - 1, so the distances add up to the pairs out of reach over all k.
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
