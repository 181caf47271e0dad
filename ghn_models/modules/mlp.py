"""Linear layers with ReLU between them, and the graph network that ignores the graph."""

from collections.abc import Sequence

from torch import Tensor, nn

from ghn_models.inputs.graph_batch import GraphBatch


class MLP(nn.Module):
    """Multilayer perceptron.

    Args:
        inputs: size of the input.
        sizes: size of each layer.
        last_activation: apply ReLU after the last layer too.

    Shapes:
        (..., inputs) -> (..., sizes[-1])
    """

    def __init__(self, inputs: int, sizes: Sequence[int], last_activation: bool) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip((inputs, *sizes), sizes, strict=False))
        self.last_activation = last_activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer."""
        for i, linear in enumerate(self.linears):
            x = linear(x)
            if self.last_activation or i + 1 < len(self.linears):
                x = x.relu()
        return x


class NodeMLP(nn.Module):
    """Graph network that ignores the graph: two linear layers on each node (MLP baseline; DeepNets paper, section 5).

    Shapes:
        x (N, d), graphs with N nodes -> (N, d)
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = MLP(hidden, (hidden, hidden), last_activation=True)

    def forward(self, x: Tensor, graphs: GraphBatch) -> Tensor:
        """Return node features."""
        features: Tensor = self.mlp(x)
        return features
