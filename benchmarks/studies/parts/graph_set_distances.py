"""Distances between networks and between sets of networks (DeepNets paper, section C.2.4, Tables 10 and 11)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from deepnets import ArchGraph
from deepnets.utils.errors import InputError

Floats = NDArray[np.float64]

_DIFFERENT = 2**0.5
"""Cost of assigning a node to another one: the Euclidean distance of two different one-hot vectors."""
_ALONE = 1.0
"""Cost of a node without a partner: the Euclidean distance of a one-hot vector from zeros."""


def frechet_distance(first: Floats, second: Floats) -> float:
    """Return the squared Fréchet distance between two samples, taken as normal distributions.

    With means m and covariances S it is |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Dowson and Landau, 1982). The
    trace of the root is the sum of the singular values of S1^(1/2) S2^(1/2), which exists for singular covariances too.

    Args:
        first, second: (n, d) and (m, d) embeddings, two or more each.

    Raises:
        InputError: other shapes, or fewer embeddings.
    """
    for sample in (first, second):
        if sample.ndim != 2 or len(sample) < 2 or sample.shape[1] != first.shape[-1]:
            raise InputError(
                f"samples have shapes {first.shape} and {second.shape}; accepted: two or more embeddings of one size"
            )
    roots = [_covariance_root(sample) for sample in (first, second)]
    difference = first.mean(0) - second.mean(0)
    traces = sum(np.square(root).sum() for root in roots)
    overlap = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    return float(max(difference @ difference + traces - 2 * overlap, 0.0))


def _covariance_root(sample: Floats) -> Floats:
    """Return the (d, d) symmetric square root of the covariance."""
    values, vectors = np.linalg.eigh(np.cov(sample, rowvar=False).reshape(sample.shape[1], -1))
    root: Floats = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


def hungarian_costs(graphs: Sequence[ArchGraph], others: Sequence[ArchGraph]) -> Floats:
    """Return the cost of the best assignment between the nodes of two graphs, for all pairs of graphs.

    The paper runs the Hungarian algorithm on node features without edges and shapes, and does not say on which ones.
    Here a node is the one-hot vector of its primitive, cell and name, which published files store; the smaller graph is
    padded with zeros, and an assignment costs the Euclidean distance. Two nodes cost 0 if all three agree, else
    sqrt(2), and a node without a partner costs 1. This reading was chosen among some ten others because it reproduces
    the published Table 11 within 7%, so the agreement does not confirm it independently.
    `deepnets.analysis.statistics.assignment_costs`, with primitives alone and whole numbers, gives 0.56 to 0.73 of that
    table. Neither gives Table 10.

    With these costs the best assignment has as many equal pairs as the graphs have nodes in common, so no search is
    needed.

    Returns:
        (A, B) costs.
    """
    sizes = [np.array([len(graph) for graph in batch]) for batch in (graphs, others)]
    kinds: dict[tuple[object, ...], int] = {}
    rows = [_node_kinds(batch, kinds) for batch in (graphs, others)]
    first, second = (csr_array((np.ones(len(i)), i, ptr), shape=(len(ptr) - 1, len(kinds))) for i, ptr in rows)
    common = (first @ second.T).toarray()  # (A, B)
    larger, smaller = np.maximum.outer(*sizes), np.minimum.outer(*sizes)
    costs: Floats = _DIFFERENT * (smaller - common) + _ALONE * (larger - smaller)
    return costs


def _node_kinds(graphs: Sequence[ArchGraph], kinds: dict[tuple[object, ...], int]) -> tuple[list[int], list[int]]:
    """Return the node kinds of all graphs as a ragged array, indices and bounds; new kinds are added to `kinds`.

    A kind is primitive, cell, name and number: the second equal node of a graph is another kind than the first, so that
    kinds in common are counted with their multiplicity.
    """
    indices, bounds = [], [0]
    for graph in graphs:
        seen: dict[tuple[object, ...], int] = {}
        for node in zip(graph.op.tolist(), graph.cell.tolist(), graph.name.tolist(), strict=True):
            seen[node] = seen.get(node, 0) + 1
            indices.append(kinds.setdefault((*node, seen[node]), len(kinds)))
        bounds.append(len(indices))
    return indices, bounds
