"""Graphs and molecules: nodes and edges."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import argument

NODES = 8


def node_features(facts: Facts) -> Iterator[Tensor]:
    """Provide (nodes, features), or the kinds of the nodes."""
    width = facts.number("in_channels", "in_feats", "in_features", "in_dim", "node_dim", default=0)
    first = next((m for m in facts.model.modules() if isinstance(_width(m), int) or isinstance(m, nn.Embedding)), None)
    if isinstance(first, nn.Embedding) and not width:
        yield torch.arange(NODES) % first.num_embeddings
    for columns in dict.fromkeys(n for n in (width, _width(first)) if isinstance(n, int) and n > 0):
        yield torch.empty(NODES, columns, dtype=facts.dtype, device="meta")
    if isinstance(first, nn.Embedding):
        yield torch.zeros(NODES, 1, dtype=torch.long)


def _width(module: nn.Module | None) -> int | None:
    for name in ("in_channels", "in_features"):
        value = getattr(module, name, None)
        value = value[0] if isinstance(value, tuple) and value else value
        if isinstance(value, int) and value > 0:
            return value
    return None


def _ring() -> Tensor:
    nodes = torch.arange(NODES)
    return torch.stack([torch.cat([nodes, nodes]), torch.cat([nodes.roll(-1), nodes.roll(1)])])


@argument("edge_index", "adj_t")
def edges(facts: Facts) -> Iterator[Tensor]:
    """(2, edges): a ring, both ways."""
    yield _ring()


@argument("edge_attr")
def edge_features(facts: Facts) -> Iterator[Tensor]:
    """(edges, features)."""
    width = facts.number("edge_dim", "edge_in_dim", "edge_features", default=0)
    if not width:
        width = next((w for m in facts.model.modules() if isinstance(w := getattr(m, "edge_dim", None), int)), 1)
    yield torch.empty(2 * NODES, width, dtype=facts.dtype, device="meta")


@argument("edge_weight")
def edge_weights(facts: Facts) -> Iterator[Tensor]:
    """(edges): one number for each edge."""
    yield torch.empty(2 * NODES, dtype=facts.dtype, device="meta")


@argument("edge_type", "batch", "batch_index")
def kinds(facts: Facts) -> Iterator[Tensor]:
    """(edges) or (nodes): all of one kind, in one graph."""
    yield torch.zeros(NODES, dtype=torch.long)
    yield torch.zeros(2 * NODES, dtype=torch.long)


@argument("z")
def atoms(facts: Facts) -> Iterator[Tensor]:
    """(nodes): atomic numbers; for models without tables, vectors (B, features)."""
    embedding = facts.first(nn.Embedding)
    if embedding is not None:
        yield torch.arange(1, NODES + 1) % embedding.num_embeddings
    linear = facts.first(nn.Linear)
    if linear is not None:
        yield facts.floats(linear.in_features)


@argument("pos")
def places(facts: Facts) -> Iterator[Tensor]:
    """(nodes, 3)."""
    yield torch.empty(NODES, 3, dtype=facts.dtype, device="meta")
