"""The configuration of a graph hypernetwork: everything that its checkpoint needs besides the weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from deepnets.utils.errors import InputError

_MAX_SIZE = 2**16  # of any dimension: a damaged file must not fill the memory

_FILE_NAMES = {"propagation_steps": "sweeps", "bidirectional": "backward"}
"""Fields that are called otherwise in `config.json`."""
_LATER = {"shape_encoding": True}
"""Fields that older files do not have, with the value of GHNs of that time; other values alone are written."""


@dataclass(frozen=True)
class GHNConfig:
    """Configuration of a GHN; the defaults are those of GHN-2 for ImageNet.

    Args:
        graph_network: how nodes exchange information: not at all (mlp), along the edges in the order of execution
            (gated_gnn: GHN-1, GHN-2), or by attention over all nodes (graphormer: GHN-3).
        hidden: size d of node features.
        decoder: how a node feature becomes a weight: conv is the compact decoder, mlp predicts each number by itself.
        decoder_channels: output and input channels K of predicted tensors; larger weights repeat them.
        kernel_size: height and width S of predicted tensors; 11 for images of 32x32, 16 for 224x224.
        num_classes: outputs of predicted classifiers.
        layers: graph network layers L.
        heads: attention heads of the graphormer.
        normalize: scale of predicted tensors (DeepNets paper, Table 2); none leaves them as they are.
        layer_norm: normalize node features before the decoder.
        window: the part of a predicted tensor that kernels smaller than S take.
        pooled_classifier: a last convolution before global pooling (SqueezeNet) is a classifier, as in the code of
            GHN-3; in that of GHN-2 it is like any other.
        virtual_edges: the gated GNN sees shortest paths of up to 50 edges (DeepNets paper, Eq. 4).
        propagation_steps: propagations T of the gated GNN, each forward and backward.
        bidirectional: the gated GNN also runs against the edges.
        edge_embedding: which shortest paths enter the attention of the graphormer (GHN-3 paper, Eq. 9).
        centrality: nodes embed their in- and out-degrees (GHN-3 paper, Eq. 7).
        input_distance: nodes embed their distance from the input (GHN-3 paper, section A.1).
        shape_encoding: nodes embed the shape of their parameter (DeepNets paper, section B.1).

    Raises:
        InputError: a value out of range, or sizes that do not divide.
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
    propagation_steps: int = 1
    bidirectional: bool = True
    edge_embedding: Literal["both", "forward", "none"] = "both"
    centrality: bool = False
    input_distance: bool = False
    shape_encoding: bool = True

    def __post_init__(self) -> None:
        for field, annotation in type(self).__annotations__.items():
            value = getattr(self, field)
            choices = getattr(annotation, "__args__", None)
            if choices and not (isinstance(value, str) and value in choices):
                raise InputError(f"{field} is {value!r}; accepted: {', '.join(map(repr, choices))}")
            if annotation is int and (
                not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_SIZE
            ):
                raise InputError(f"{field} is {value!r}; it must be an integer from 1 to {_MAX_SIZE}")
            if annotation is bool and not isinstance(value, bool):
                raise InputError(f"{field} is {value!r}; it must be true or false")
        if self.hidden % 4:
            raise InputError(f"hidden is {self.hidden}; the four shape encodings need a multiple of 4")
        if self.graph_network == "graphormer" and self.hidden % self.heads:
            raise InputError(f"hidden is {self.hidden}, which {self.heads} heads do not divide")

    @classmethod
    def from_file(cls, settings: Mapping[str, Any]) -> "GHNConfig":
        """Return the configuration that `config.json` holds.

        Raises:
            InputError: an unknown setting, a missing one (a default would be a guess), or a value out of range.
        """
        names = {_FILE_NAMES.get(field.name, field.name): field.name for field in fields(cls)}
        unknown = [key for key in settings if key not in names]
        if unknown:
            raise InputError(f"unknown setting {unknown[0]!r}; a newer version wrote it")
        missing = [key for key in names if key not in settings and key not in _LATER]
        if missing:
            raise InputError(f"it has no setting {missing[0]!r}")
        return cls(**{names[key]: value for key, value in settings.items()})

    def to_file(self) -> dict[str, Any]:
        """Return what `config.json` holds of the configuration."""
        content = {name: value for name, value in asdict(self).items() if _LATER.get(name) != value}
        return {_FILE_NAMES.get(name, name): value for name, value in content.items()}
