"""What a graph hypernetwork is made of: everything that its checkpoint needs besides the weights."""

from dataclasses import dataclass
from typing import Literal

_MOST = 2**16  # of anything; a damaged file shall not fill the memory


@dataclass(frozen=True)
class GHNConfig:
    """Configuration of a GHN; the defaults are those of GHN-2 for ImageNet.

    Args:
        graph_network: how nodes exchange information: not at all (mlp), along the edges in the order of execution
            (gated_gnn: GHN-1, GHN-2), or by attention over all nodes (graphormer: GHN-3).
        hidden: size d of node features.
        decoder: how a node becomes a weight; conv is the compact decoder, mlp predicts each number by itself.
        decoder_channels: output and input channels K of predicted tensors; larger weights repeat them.
        kernel_size: height and width S of predicted tensors; 11 for images of 32x32, 16 for 224x224.
        num_classes: outputs of predicted classifiers.
        layers: graph network layers L.
        heads: attention heads of the graphormer.
        normalize: predicted tensors are scaled by fan_in or fan_out (DeepNets paper, Table 2), or left as they are.
        layer_norm: normalize the node features that the decoder reads.
        window: where kernels smaller than S lie in the predicted tensor.
        pooled_classifier: a last convolution before global pooling (SqueezeNet) is a classifier, as in the code of
            GHN-3; in that of GHN-2 it is like any other.
        virtual_edges: the gated GNN sees shortest paths of up to 50 edges (DeepNets paper, Eq. 4).
        sweeps: forward and backward passes T of the gated GNN.
        backward: the gated GNN also runs against the edges.
        edge_embedding: whose shortest paths enter the attention of the graphormer (GHN-3 paper, Eq. 9).
        centrality: nodes embed their in- and out-degrees (GHN-3 paper, Eq. 7).
        input_distance: nodes embed their distance from the input (GHN-3 paper, section A.1).

    Raises:
        ValueError: a value out of range, or sizes that do not divide.
    """

    graph_network: Literal["mlp", "gated_gnn", "graphormer"] = "gated_gnn"
    hidden: int = 32
    decoder: Literal["conv", "mlp"] = "conv"
    decoder_channels: int = 64
    kernel_size: int = 16
    num_classes: int = 1000
    layers: int = 1
    heads: int = 8
    normalize: Literal["fan_in", "fan_out", "none"] = "fan_in"
    layer_norm: bool = True
    window: Literal["corner", "centre"] = "corner"
    pooled_classifier: bool = False
    virtual_edges: bool = True
    sweeps: int = 1
    backward: bool = True
    edge_embedding: Literal["both", "forward", "none"] = "both"
    centrality: bool = False
    input_distance: bool = False

    def __post_init__(self) -> None:
        for field, kinds in type(self).__annotations__.items():
            value = getattr(self, field)
            choices = getattr(kinds, "__args__", None)
            if choices and value not in choices:
                raise ValueError(f"{field} is {value!r}; accepted: {', '.join(map(repr, choices))}")
            if kinds is int and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST):
                raise ValueError(f"{field} is {value!r}; it must be an integer from 1 to {_MOST}")
            if kinds is bool and not isinstance(value, bool):
                raise ValueError(f"{field} is {value!r}; it must be true or false")
        if self.hidden % 4:
            raise ValueError(f"hidden is {self.hidden}; the four shape encodings need a multiple of 4")
        if self.graph_network == "graphormer" and self.hidden % self.heads:
            raise ValueError(f"hidden is {self.hidden}, which {self.heads} heads do not divide")
