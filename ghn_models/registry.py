"""Registry of GHNs: `create`, `load` and `list_models`, with one small function for each published variant."""

import os
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import torch

from deepnets.utils.errors import InputError, unknown_choice
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.config import GHNConfig
from ghn_models.hypernetwork import GHN

_KERNEL_SIZES = {32: 11, 224: 16}
_VARIANTS: dict[str, Callable[[], GHNConfig]] = {}


def _variant(function: Callable[[], GHNConfig]) -> Callable[[], GHNConfig]:
    assert function.__name__ not in _VARIANTS, function.__name__
    _VARIANTS[function.__name__] = function
    return function


@_variant
def mlp() -> GHNConfig:
    """Baseline without a graph (DeepNets paper, section 5)."""
    return replace(ghn2(), graph_network="mlp")


@_variant
def ghn1() -> GHNConfig:
    """GHN-1: the GHN of Zhang et al. (2019) with a compact decoder (DeepNets paper, section B.1)."""
    return replace(ghn2(), virtual_edges=False, normalize="none", layer_norm=False)


@_variant
def ghn2() -> GHNConfig:
    """GHN-2 (DeepNets paper, section 4)."""
    return GHNConfig(graph_network="gated_gnn", hidden=32, decoder_channels=64)


_graphormer = partial(
    GHNConfig,
    graph_network="graphormer",
    window="centre",
    pooled_classifier=True,
    edge_embedding="both",
    centrality=True,
    input_distance=True,
)


@_variant
def ghn3_t() -> GHNConfig:
    """GHN-3-T (GHN-3 paper, Table 1)."""
    return _graphormer(hidden=64, decoder_channels=64, layers=3, heads=8)


@_variant
def ghn3_s() -> GHNConfig:
    """GHN-3-S (GHN-3 paper, Table 1)."""
    return _graphormer(hidden=128, decoder_channels=128, layers=5, heads=16)


@_variant
def ghn3_l() -> GHNConfig:
    """GHN-3-L (GHN-3 paper, Table 1)."""
    return _graphormer(hidden=256, decoder_channels=256, layers=12, heads=16)


@_variant
def ghn3_xl() -> GHNConfig:
    """GHN-3-XL (GHN-3 paper, Table 1)."""
    return _graphormer(hidden=384, decoder_channels=384, layers=24, heads=16)


@_variant
def ghn2_no_normalization() -> GHNConfig:
    """GHN-2 without normalization of predicted parameters (DeepNets paper, Table 8)."""
    return replace(ghn2(), normalize="none")


@_variant
def ghn2_no_virtual_edges() -> GHNConfig:
    """GHN-2 without virtual edges (DeepNets paper, Table 8)."""
    return replace(ghn2(), virtual_edges=False)


@_variant
def ghn2_no_layer_norm() -> GHNConfig:
    """GHN-2 without LayerNorm before the decoders (DeepNets paper, Table 8)."""
    return replace(ghn2(), layer_norm=False)


@_variant
def ghn2_t5() -> GHNConfig:
    """GHN-2 with T = 5 propagations (DeepNets paper, Table 8)."""
    return replace(ghn2(), propagation_steps=5)


@_variant
def ghn2_stacked() -> GHNConfig:
    """GHN-2 with a second gated GNN on top of the first (DeepNets paper, Table 8)."""
    return replace(ghn2(), layers=2)


@_variant
def ghn2_stacked_no_virtual_edges() -> GHNConfig:
    """GHN-2 with a second gated GNN and no virtual edges (DeepNets paper, Table 8)."""
    return replace(ghn2(), layers=2, virtual_edges=False)


@_variant
def ghn2_no_shape_encoding() -> GHNConfig:
    """GHN-2 whose nodes do not know the shapes of their parameters (DeepNets paper, Table 8)."""
    return replace(ghn2(), shape_encoding=False)


@_variant
def ghn1_layer_norm() -> GHNConfig:
    """GHN-1 with LayerNorm before the decoders (DeepNets paper, Table 8)."""
    return replace(ghn1(), layer_norm=True)


@_variant
def ghn2_forward() -> GHNConfig:
    """GHN-2 with the forward pass alone (DeepNets paper, Table 8)."""
    return replace(ghn2(), bidirectional=False)


@_variant
def ghn2_fan_out() -> GHNConfig:
    """GHN-2 that normalizes by fan-out (DeepNets paper, Table 8)."""
    return replace(ghn2(), normalize="fan_out")


@_variant
def ghn2_mlp_decoder() -> GHNConfig:
    """GHN-2 with an MLP decoder (DeepNets paper, Table 8)."""
    return replace(ghn2(), decoder="mlp")


@_variant
def ghn2_d128() -> GHNConfig:
    """GHN-2 with d = 128 (GHN-3 paper, Table 11, x)."""
    return replace(ghn2(), hidden=128, decoder_channels=128)


@_variant
def ghn2_s() -> GHNConfig:
    """GHN-2-S: d = 128 and two layers (GHN-3 paper, Table 1).

    35.0M parameters are printed there; two gated GNNs with d = 128 make 34.86M.
    """
    return replace(ghn2_d128(), layers=2)


@_variant
def ghn3_t_no_backward() -> GHNConfig:
    """GHN-3-T without backward distances in its edge embeddings (GHN-3 paper, Table 5)."""
    return replace(ghn3_t(), edge_embedding="forward")


@_variant
def ghn3_t_no_edges() -> GHNConfig:
    """GHN-3-T without edge embeddings (GHN-3 paper, Table 5; Table 11, viii)."""
    return replace(ghn3_t(), edge_embedding="none")


@_variant
def ghn3_t_no_centrality() -> GHNConfig:
    """GHN-3-T without centrality embeddings (GHN-3 paper, Table 11, v)."""
    return replace(ghn3_t(), centrality=False)


@_variant
def ghn3_t_no_input_distance() -> GHNConfig:
    """GHN-3-T without input distance embeddings (GHN-3 paper, Table 11, vi)."""
    return replace(ghn3_t(), input_distance=False)


@_variant
def ghn3_t_no_embeddings() -> GHNConfig:
    """GHN-3-T without edge, centrality and input distance embeddings (GHN-3 paper, Table 11, ix)."""
    return replace(ghn3_t(), edge_embedding="none", centrality=False, input_distance=False)


@_variant
def ghn3_t_mlp() -> GHNConfig:
    """GHN-3-T with an MLP instead of attention (GHN-3 paper, Table 5)."""
    return replace(ghn3_t(), graph_network="mlp", layers=1)


@_variant
def ghn3_t_4d() -> GHNConfig:
    """GHN-3-T that decodes 4 d channels (GHN-3 paper, Table 11, xi)."""
    return replace(ghn3_t(), decoder_channels=256)


@_variant
def ghn3_d32_2d() -> GHNConfig:
    """GHN-3-T with d = 32 that decodes 2 d channels (GHN-3 paper, Table 11, iv).

    The 2.37M parameters printed there leave no room for input distance embeddings: with them it would be 2.40M.
    """
    return replace(ghn3_t(), hidden=32, decoder_channels=64, input_distance=False)


def list_models(pattern: str = "*", weights: bool = False) -> list[str]:
    """Return the names of models, or of their weights.

    >>> list_models("ghn3_?")
    ['ghn3_t', 'ghn3_s', 'ghn3_l']

    Args:
        pattern: shell-style, for example "ghn3*".
        weights: return what `load` accepts, such as "ghn3_t.digits".
    """
    names = checkpoints.known_weights() if weights else list(_VARIANTS)
    return [name for name in names if fnmatch(name, pattern)]


def model_config(name: str, num_classes: int = 1000, image_size: int = 224) -> GHNConfig:
    """Return the configuration of a published variant.

    Args:
        name: one of `list_models()`.
        num_classes: outputs of predicted classifiers.
        image_size: 32 (kernels of up to 11 pixels) or 224 (16).

    Raises:
        InputError: an unknown name or image size.
    """
    if name not in _VARIANTS:
        raise InputError(unknown_choice("model", name, _VARIANTS))
    if image_size not in _KERNEL_SIZES:
        raise InputError(f"image_size is {image_size!r}; accepted: 32, 224")
    return replace(_VARIANTS[name](), num_classes=num_classes, kernel_size=_KERNEL_SIZES[image_size])


def create(name: str, num_classes: int = 1000, image_size: int = 224) -> GHN:
    """Return an untrained GHN.

    Args:
        name: one of `list_models()`.
        num_classes: outputs of predicted classifiers.
        image_size: 32 (kernels of up to 11 pixels) or 224 (16).

    Raises:
        InputError: an unknown name, or a value out of range.

    >>> create("ghn3_t", num_classes=10, image_size=32).config.num_classes
    10
    """
    return GHN(model_config(name, num_classes, image_size))


def load(name: str | Path, device: torch.device | str = "cpu") -> GHN:
    """Return a trained GHN, in evaluation mode.

    Args:
        name: model and weights ("ghn3_t.digits"), a model alone for its default weights ("ghn3_t"), or a folder with
            `config.json` and `model.safetensors`.
        device: device of its parameters.

    Raises:
        CheckpointError: unknown weights, weights that are not on this machine, or a damaged checkpoint.

    >>> ghn = load("ghn3_t.digits")  # doctest: +SKIP
    >>> model = ghn(torchvision.models.resnet50(num_classes=10))  # with predicted parameters  # doctest: +SKIP
    """
    return checkpoints.load_folder(checkpoints.find(os.path.expanduser(name), list(_VARIANTS))).to(device).eval()
