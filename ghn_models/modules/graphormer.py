"""The Graphormer of GHN-3: attention over all nodes of a graph, biased by their distances."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghn_models.inputs.graph_batch import CUTOFF, GraphBatch

_DISTANCES = 257  # entries of the embedding: distance + 2
_MAX_DEGREE = 100
_MAX_INPUT_DISTANCE = 1000


class Graphormer(nn.Module):
    """Stack of Graphormer layers (GHN-3 paper, section 4.1).

    Args:
        hidden: size d of node features.
        layers, heads: number of layers L and of attention heads.
        edge_embedding: distances that bias the attention: both ways, forward only, or none.

    Shapes:
        x (N, d), graphs with N nodes -> (N, d)
    """

    def __init__(self, hidden: int, layers: int, heads: int, edge_embedding: str) -> None:
        super().__init__()
        self.edges = None if edge_embedding == "none" else EdgeBias(hidden, heads, edge_embedding == "both")
        self.layers = nn.ModuleList(GraphormerLayer(hidden, heads) for _ in range(layers))

    def forward(self, x: Tensor, graphs: GraphBatch) -> Tensor:
        """Return node features after all layers."""
        biases = [None] * len(graphs.sizes) if self.edges is None else self.edges(graphs)
        for layer in self.layers:
            x = layer(x, graphs.sizes, biases)
        return x


class GraphormerLayer(nn.Module):
    """Attention and a two-layer perceptron, both residual and after a LayerNorm (GHN-3 paper, Eq. 6).

    Attention runs graph by graph: graphs of a meta-batch differ in size by a factor of ten, and its cost is quadratic.

    Shapes:
        x (N, d), sizes of the graphs, biases (1, heads, n, n) or None for each graph -> (N, d)
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(hidden)
        self.to_qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.to_out = nn.Linear(hidden, hidden)
        self.ln2 = nn.LayerNorm(hidden)
        self.ff1 = nn.Linear(hidden, 4 * hidden)
        self.ff2 = nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor, sizes: list[int], biases: list[Tensor | None]) -> Tensor:
        """Return node features after the layer."""
        nodes, d = x.shape
        qkv = self.to_qkv(self.ln1(x)).view(nodes, 3, self.heads, d // self.heads)
        attended = [
            _attention(part, bias)
            for part, bias in zip(qkv.split(sizes), biases, strict=True)  # (n, d)
        ]
        x = x + self.to_out(torch.cat(attended))  # (N, d)
        updated: Tensor = x + self.ff2(F.gelu(self.ff1(self.ln2(x))))
        return updated


def _attention(qkv: Tensor, bias: Tensor | None) -> Tensor:
    """Attend within a graph: (n, 3, heads, d / heads), (1, heads, n, n) -> (n, d)."""
    q, k, v = qkv.permute(1, 2, 0, 3).unsqueeze(1).unbind()  # (1, heads, n, d / heads)
    mask = None if bias is None else bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).squeeze(0).transpose(0, 1).flatten(1)


class EdgeBias(nn.Module):
    """Attention bias by the distances between two nodes, phi of Eq. 9 (GHN-3 paper).

    In an acyclic graph one of the two distances is 0, so there are at most 101 different pairs. phi is computed for
    these and looked up; computing it for all pairs of nodes is most of the work of the reference code.

    Args:
        hidden: size d of the embedding of a distance.
        heads: attention heads.
        both: embed distances both ways, not forward alone.

    Shapes:
        graphs -> for each graph (1, heads, n, n)
    """

    def __init__(self, hidden: int, heads: int, both: bool) -> None:
        super().__init__()
        self.both = both
        self.embedding = nn.Embedding(_DISTANCES, hidden)
        self.fc1 = nn.Linear((2 if both else 1) * hidden, hidden)
        self.fc2 = nn.Linear(hidden, heads)

    def forward(self, graphs: GraphBatch) -> list[Tensor]:
        """Return the biases of all graphs."""
        signed = torch.arange(-CUTOFF, CUTOFF + 1, device=self.embedding.weight.device)
        forward = self.embedding(signed.clamp(min=0) + 2)  # (101, d)
        backward = self.embedding((-signed).clamp(min=0) + 2)
        embedded = torch.cat([forward, backward], dim=1) if self.both else forward
        phi = self.fc2(self.fc1(embedded).relu())  # (101, heads)
        return [_lookup(phi, distances) for distances in graphs.distances]


def _lookup(phi: Tensor, distances: Tensor) -> Tensor:
    n = len(distances)
    pairs = distances.flatten().long() + CUTOFF
    return phi.T.index_select(1, pairs).view(1, -1, n, n)


class NodePositionalEncoding(nn.Module):
    """Positional encoding of nodes: their degrees (centrality; GHN-3 paper, Eq. 7) and distance from the input (A.1).

    Shapes:
        x (N, d) -> (N, d)
    """

    def __init__(self, hidden: int, centrality: bool, input_distance: bool) -> None:
        super().__init__()
        self.in_degree = nn.Embedding(_MAX_DEGREE + 1, hidden) if centrality else None
        self.out_degree = nn.Embedding(_MAX_DEGREE + 1, hidden) if centrality else None
        self.input_distance = nn.Embedding(_MAX_INPUT_DISTANCE + 1, hidden) if input_distance else None

    def forward(self, x: Tensor, graphs: GraphBatch) -> Tensor:
        """Return node features plus the encodings."""
        if self.in_degree is not None and self.out_degree is not None:
            into = torch.cat([(d == 1).sum(0) for d in graphs.distances])  # (N,)
            out = torch.cat([(d == 1).sum(1) for d in graphs.distances])
            x = x + self.in_degree(into.clamp(max=_MAX_DEGREE)) + self.out_degree(out.clamp(max=_MAX_DEGREE))
        if self.input_distance is not None:
            distance = torch.cat([d[0] for d in graphs.distances]).long().clamp(min=0)
            x = x + self.input_distance(distance)
        return x
