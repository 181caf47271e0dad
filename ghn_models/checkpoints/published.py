"""Names of the parameters in published weights."""

import re

from torch import Tensor

from deepnets.utils.errors import InputError
from ghn_models.config import GHNConfig

_COMMON = {
    "embed": "encoding.primitive",
    "shape_enc.embed_channel": "encoding.channel",
    "shape_enc.embed_spatial": "encoding.spatial",
    "ln": "norm",
    "decoder.class_layer_predictor.1": "decoder.classifier",
    "decoder_1d.fc.0": "vector_decoder.mlp.linears.0",
    "decoder_1d.fc.2": "vector_decoder.mlp.linears.1",
    "bias_class.1": "vector_decoder.classifier",
}
_DECODERS = {
    "conv": {"decoder.fc.0": "decoder.fc", "decoder.conv.0": "decoder.conv1", "decoder.conv.2": "decoder.conv2"},
    "mlp": {"decoder.mlp.fc.0": "decoder.fc1", "decoder.mlp.fc.2": "decoder.fc2"},
}
_GRAPH_NETWORKS = {
    "mlp": {"gnn.fc.0": "graph_network.0.mlp.linears.0", "gnn.fc.2": "graph_network.0.mlp.linears.1"},
    "gated_gnn": {
        "gnn.mlp.fc.0": "graph_network.0.message.linears.0",
        "gnn.mlp.fc.2": "graph_network.0.message.linears.1",
        "gnn.mlp_ve.fc.0": "graph_network.0.virtual_message.linears.0",
        "gnn.mlp_ve.fc.2": "graph_network.0.virtual_message.linears.1",
        "gnn.gru": "graph_network.0.gru",
    },
    "graphormer": {
        "gnn.0.attn.edge_embed.embed": "graph_network.0.edges.embedding",
        "gnn.0.attn.proj_e.0": "graph_network.0.edges.fc1",
        "gnn.0.attn.proj_e.2": "graph_network.0.edges.fc2",
        "gnn.0.centrality_embed_in": "position.in_degree",
        "gnn.0.centrality_embed_out": "position.out_degree",
        "gnn.0.input_dist_embed": "position.input_distance",
    },
}
_LAYER = {
    "ln1": "ln1",
    "attn.to_qkv": "to_qkv",
    "attn.to_out.0": "to_out",
    "ln2": "ln2",
    "ff.net.0": "ff1",
    "ff.net.3": "ff2",
}
_MOVED = re.compile(r"(module\.)?(?P<gnn>gnn\.0\.)?(?P<name>(centrality_embed_(in|out)|input_dist_embed)\.weight)")


def module_names(config: GHNConfig) -> dict[str, str]:
    """Return the name of every module with parameters in `GHN`, by its published name."""
    names = _COMMON | _DECODERS[config.decoder] | _GRAPH_NETWORKS[config.graph_network]
    if config.graph_network == "graphormer":
        for layer in range(config.layers):
            ours = f"graph_network.0.layers.{layer}"
            names |= {f"gnn.{layer}.{theirs}": f"{ours}.{part}" for theirs, part in _LAYER.items()}
    return names


def from_published(state: dict[str, Tensor], config: GHNConfig) -> dict[str, Tensor]:
    """Rename the parameters of a published GHN to those of `GHN`.

    1x1 convolutions become linear layers. Some files keep node embeddings outside of the first layer, or have the names
    of distributed training.

    Raises:
        InputError: a parameter that has no counterpart, or two names for one.
    """
    names = module_names(config)
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        moved = _MOVED.fullmatch(name)
        plain = f"gnn.0.{moved['name']}" if moved else name.removeprefix("module.")
        module, _, parameter = plain.rpartition(".")
        if module not in names:
            raise InputError(f"the parameter {name[:80]!r} does not belong to a {config.graph_network} GHN")
        ours = f"{names[module]}.{parameter}"
        if ours in result:
            raise InputError(f"the parameter {plain} appears twice")
        convolution = module.startswith("decoder.") and value.shape[2:] == (1, 1)
        result[ours] = value[..., 0, 0] if convolution else value
    return result


def to_published(state: dict[str, Tensor], config: GHNConfig) -> dict[str, Tensor]:
    """Rename parameters back, the inverse of `from_published`; some linear layers become 1x1 convolutions again."""
    names = {ours: theirs for theirs, ours in module_names(config).items()}
    result = {}
    for name, value in state.items():
        module, _, parameter = name.rpartition(".")
        theirs = f"{names[module]}.{parameter}"
        convolution = config.decoder == "conv" and config.window == "corner" and parameter == "weight"
        if convolution and (theirs.startswith(("decoder.conv", "decoder.class"))):
            value = value[..., None, None]
        result[theirs] = value
    return result
