"""Neural Predictor (Wen et al., 2020) trained from scratch: a baseline without a GHN (DeepNets paper, section 5.2)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import DirGNNConv, SAGEConv, global_mean_pool

from deepnets import PRIMITIVES, ArchGraph

Floats = NDArray[np.float64]

_HIDDEN = 64
_LAYERS = 3
_BATCH = 16
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-3


class NeuralPredictor(nn.Module):
    """Graph convolutions in both directions of the edges, the mean over nodes, and two linear layers.

    As in Wen et al. (2020), section 3, nodes are one-hot primitives, there are three layers, and neighbors are averaged
    in either direction. This network is narrower (64 instead of 144 features) and trained for fewer steps at a larger
    learning rate, so that it takes seconds on a CPU.

    Shapes:
        a batch of B graphs -> (B,)
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(PRIMITIVES), _HIDDEN)
        self.convolutions = nn.ModuleList(
            DirGNNConv(SAGEConv(_HIDDEN, _HIDDEN, root_weight=False)) for _ in range(_LAYERS)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(_HIDDEN) for _ in range(_LAYERS))
        self.head = nn.Sequential(nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1))

    def forward(self, graphs: Batch) -> Tensor:
        """Return a value for each graph."""
        x = self.embedding(graphs.x)  # (N, d)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x, graphs.edge_index)).relu()
        values: Tensor = self.head(global_mean_pool(x, graphs.batch, graphs.num_graphs))
        return values.squeeze(1)


def train_and_predict(
    graphs: Sequence[ArchGraph], y: Floats, others: Sequence[ArchGraph], epochs: int, seed: int
) -> Floats:
    """Train a predictor of a property, and return its values for other networks.

    Args:
        graphs, y: networks and (n,) values.
        others: m other networks.
        epochs: number of epochs, with AdamW and a cosine schedule.
        seed: seed of the initial weights and of the order; on one thread, equal seeds give equal results.

    Returns:
        (m,) values.
    """
    mean, std = y.mean(), y.std() or 1.0
    data = [_data(graph, (value - mean) / std) for graph, value in zip(graphs, y, strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NeuralPredictor()
        loader = DataLoader(data, _BATCH, shuffle=True, generator=torch.Generator().manual_seed(seed))
        optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
        for _ in range(epochs):
            for batch in loader:
                loss = nn.functional.mse_loss(model(batch), batch.y)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            loader = DataLoader([_data(graph, 0.0) for graph in others], _BATCH)
            predicted = torch.cat([model(batch) for batch in loader])
    values: Floats = predicted.double().numpy() * std + mean
    return values


def _data(graph: ArchGraph, value: float) -> Data:
    edges = torch.from_numpy(graph.edge_index.astype(np.int64))
    return Data(torch.from_numpy(graph.op.astype(np.int64)), edges, y=torch.tensor([value], dtype=torch.float32))
