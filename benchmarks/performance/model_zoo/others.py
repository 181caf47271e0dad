"""Models of other libraries: segmentation, volumes, graphs, diffusion, sound."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from benchmarks.performance.model_zoo.vision import Factories

_SEGMENTATION = (
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
)
_UNET = {"channels": (8, 16, 32), "strides": (2, 2)}
_VOLUMES: dict[str, dict[str, Any]] = {
    "UNet": {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **_UNET},
    "AttentionUnet": {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **_UNET},
    "BasicUNet": {"spatial_dims": 3, "features": (8, 8, 16, 16, 32, 8)},
    "SegResNet": {"spatial_dims": 3},
    "VNet": {"spatial_dims": 3},
    "UNETR": {
        "in_channels": 1,
        "out_channels": 2,
        "img_size": (64, 64, 64),
        "hidden_size": 48,
        "mlp_dim": 96,
        "num_heads": 4,
    },
    "SwinUNETR": {"in_channels": 1, "out_channels": 2, "feature_size": 12},
    "DenseNet121": {"spatial_dims": 3, "in_channels": 1, "out_channels": 2},
    "resnet18": {"spatial_dims": 3, "n_input_channels": 1},
    "DynUNet": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [8, 16, 32],
    },
}
_GRAPHS: dict[str, dict[str, Any]] = {
    **{
        name: {"in_channels": 16, "hidden_channels": 32, "num_layers": 2} for name in ("GCN", "GAT", "GraphSAGE", "GIN")
    },
    "EdgeCNN": {"in_channels": 16, "hidden_channels": 32, "num_layers": 2},
    "GraphUNet": {"in_channels": 16, "hidden_channels": 32, "out_channels": 4, "depth": 2},
    "SchNet": {"hidden_channels": 32, "num_filters": 32, "num_interactions": 2},
    "LightGCN": {"num_nodes": 20, "embedding_dim": 16, "num_layers": 2},
    "AttentiveFP": {
        "in_channels": 16,
        "hidden_channels": 32,
        "out_channels": 4,
        "edge_dim": 3,
        "num_layers": 2,
        "num_timesteps": 2,
    },
}
_BLOCKS = {"block_out_channels": (32, 64), "layers_per_block": 1}
_DIFFUSION: dict[str, dict[str, Any]] = {
    "UNet2DModel": {
        **_BLOCKS,
        "sample_size": 32,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    },
    "UNet2DConditionModel": {
        **_BLOCKS,
        "sample_size": 32,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    "ControlNetModel": {
        **_BLOCKS,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        "conditioning_embedding_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    },
    "AutoencoderKL": {"sample_size": 32},
    "VQModel": {"sample_size": 32},
    "DiTTransformer2DModel": {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "sample_size": 16},
    "SD3Transformer2DModel": {
        "sample_size": 16,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 64,
    },
    "FluxTransformer2DModel": {
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "axes_dims_rope": (4, 4, 8),
    },
}
_SOUND: dict[str, dict[str, Any]] = {
    "ConvTasNet": {"num_sources": 2},
    "DeepSpeech": {"n_feature": 40},
    "Wav2Letter": {"num_features": 1},
    "wav2vec2_base": {},
    "HDemucs": {"sources": ["a", "b"], "channels": 12, "nfft": 1024},
    "Conformer": {"input_dim": 80, "num_heads": 4, "ffn_dim": 128, "num_layers": 2, "depthwise_conv_kernel_size": 31},
    "Emformer": {"input_dim": 80, "num_heads": 4, "ffn_dim": 128, "num_layers": 2, "segment_length": 4},
    "Tacotron2": {},
}
_SPEAKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ECAPA_TDNN": ("speechbrain.lobes.models.ECAPA_TDNN", {"input_size": 80, "channels": [64] * 5, "lin_neurons": 32}),
    "Xvector": ("speechbrain.lobes.models.Xvector", {"in_channels": 40, "tdnn_channels": [64] * 5}),
}


def other_models() -> Factories:
    """Return small models of six libraries."""
    smp = {f"smp.{name}": _made("segmentation_models_pytorch", name, encoder_weights=None) for name in _SEGMENTATION}
    return {
        **{name: partial(model, encoder_name="resnet18") for name, model in smp.items()},
        **{f"monai.{name}": _made("monai.networks.nets", name, **o) for name, o in _VOLUMES.items()},
        **{f"pyg.{name}": _made("torch_geometric.nn.models", name, **o) for name, o in _GRAPHS.items()},
        **{f"diffusers.{name}": _made("diffusers", name, **o) for name, o in _DIFFUSION.items()},
        **{f"torchaudio.{name}": _made("torchaudio.models", name, **o) for name, o in _SOUND.items()},
        **{f"speechbrain.{name}": _made(module, name, **o) for name, (module, o) in _SPEAKERS.items()},
    }


def _made(module: str, name: str, **options: Any) -> Callable[..., nn.Module]:
    """Return a function that makes a model; its library is imported only then."""

    def make(**more: Any) -> nn.Module:
        model: nn.Module = getattr(import_module(module), name)(**options, **more)
        return model.eval()

    return make
