"""Neural Predictor (Wen et al., 2020) trained from scratch: a baseline without a GHN (DeepNets paper, section 5.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import DirGNNConv, SAGEConv, global_mean_pool

from deepnets import PRIMITIVES, ArchGraph

Floats = NDArray[np.float64]

_LAYERS = 3
_WEIGHT_DECAY = 1e-3


@dataclass(frozen=True)
class PredictorSize:
    """Size and training of a Neural Predictor.

    Args:
        hidden, linear: features of nodes, and of the layer behind the mean.
        batch_size, lr: batch size and learning rate of AdamW.
        epochs: number of epochs unless the user gives one.
    """

    hidden: int
    linear: int
    batch_size: int
    lr: float
    epochs: int


SIZES = {"quick": PredictorSize(64, 64, 16, 2e-3, 30), "paper": PredictorSize(144, 128, 10, 1e-4, 300)}
"""quick takes seconds on a CPU; paper has the hyperparameters of Wen et al. (2020), section 4."""


class NeuralPredictor(nn.Module):
    """Graph convolutions in both directions of the edges, the mean over nodes, and two linear layers.

    As in Wen et al. (2020), section 3, nodes are one-hot primitives, there are three layers, and neighbors are averaged
    in either direction.

    Args:
        hidden: features of nodes, 144 in the paper.
        linear: features of the layer behind the mean, 128 in the paper.

    Shapes:
        a batch of B graphs -> (B,)
    """

    def __init__(self, hidden: int, linear: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(PRIMITIVES), hidden)
        self.convolutions = nn.ModuleList(
            DirGNNConv(SAGEConv(hidden, hidden, root_weight=False)) for _ in range(_LAYERS)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(_LAYERS))
        self.head = nn.Sequential(nn.Linear(hidden, linear), nn.ReLU(), nn.Linear(linear, 1))

    def forward(self, graphs: Batch) -> Tensor:
        """Return a value for each graph."""
        x = self.embedding(graphs.x)  # (N, d)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x, graphs.edge_index)).relu()
        values: Tensor = self.head(global_mean_pool(x, graphs.batch, graphs.num_graphs))
        return values.squeeze(1)


def train_and_predict(
    graphs: Sequence[ArchGraph],
    y: Floats,
    others: Sequence[ArchGraph],
    epochs: int,
    seed: int,
    size: PredictorSize = SIZES["quick"],
) -> Floats:
    """Train a predictor of a property, and return its values for other networks.

    Args:
        graphs, y: networks and (n,) values.
        others: m other networks.
        epochs: number of epochs, with AdamW and a cosine schedule.
        seed: seed of the initial weights and of the order; on one thread, equal seeds give equal results.
        size: size of the predictor, with its batch size and learning rate.

    Returns:
        (m,) values.
    """
    mean, std = y.mean(), y.std() or 1.0
    data = [_data(graph, (value - mean) / std) for graph, value in zip(graphs, y, strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NeuralPredictor(size.hidden, size.linear)
        loader = DataLoader(data, size.batch_size, shuffle=True, generator=torch.Generator().manual_seed(seed))
        optimizer = torch.optim.AdamW(model.parameters(), size.lr, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
        for _ in range(epochs):
            for batch in loader:
                loss = nn.functional.mse_loss(model(batch), batch.y)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            loader = DataLoader([_data(graph, 0.0) for graph in others], size.batch_size)
            predicted = torch.cat([model(batch) for batch in loader])
    values: Floats = predicted.double().numpy() * std + mean
    return values


def _data(graph: ArchGraph, value: float) -> Data:
    edges = torch.from_numpy(graph.edge_index.astype(np.int64))
    return Data(torch.from_numpy(graph.op.astype(np.int64)), edges, y=torch.tensor([value], dtype=torch.float32))
