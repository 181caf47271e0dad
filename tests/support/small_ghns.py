"""A small GHN of every kind."""

from dataclasses import replace

from ghn_models.config import GHNConfig

SMALL = GHNConfig(hidden=16, decoder_channels=16, kernel_size=11, num_classes=10)
KINDS = {
    "mlp": replace(SMALL, graph_network="mlp"),
    "ghn1": replace(SMALL, virtual_edges=False, normalize="none", layer_norm=False),
    "ghn2": SMALL,
    "ghn2_mlp_decoder": replace(SMALL, decoder="mlp"),
    "ghn3": replace(
        SMALL, graph_network="graphormer", layers=2, heads=4, window="centre", centrality=True, input_distance=True
    ),
}
