"""Models of Hugging Face's transformers with small configurations: two layers, and an eighth of the width."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn

from benchmarks.performance.model_zoo.vision import Factories
from deepnets.utils.errors import InputError

_TEXT = """
BertModel BertForSequenceClassification RobertaForMaskedLM AlbertModel DistilBertForQuestionAnswering
ElectraForPreTraining DebertaModel DebertaV2Model XLNetModel XLMRobertaModel GPT2LMHeadModel GPTNeoModel
GPTNeoXForCausalLM GPTJModel OPTForCausalLM BloomModel LlamaForCausalLM MistralModel MixtralModel Qwen2Model
Qwen3ForCausalLM Qwen3MoeModel GemmaModel Gemma2Model Phi3Model FalconModel MptModel StableLmModel CohereModel
MambaModel Mamba2Model RwkvModel JambaModel T5ForConditionalGeneration MT5Model BartForConditionalGeneration
PegasusModel MarianModel MBartModel LongformerModel BigBirdModel LEDModel FunnelModel ReformerModel CanineModel
FNetModel ModernBertModel SwitchTransformersModel ProphetNetModel RoFormerModel
"""
_VISION = """
ViTModel ViTForImageClassification DeiTModel BeitModel SwinModel Swinv2Model ConvNextModel ConvNextV2Model ResNetModel
RegNetModel BitModel LevitModel CvtModel PvtModel PvtV2Model MobileNetV1Model MobileNetV2Model MobileViTModel
MobileViTV2Model EfficientNetModel PoolFormerModel FocalNetModel HieraModel Dinov2Model Dinov2WithRegistersModel
ViTMAEModel ViTMSNModel SegformerForSemanticSegmentation DPTForDepthEstimation GLPNModel DetrForObjectDetection
YolosModel RTDetrModel SamModel Mask2FormerModel VideoMAEModel TimesformerModel VivitModel ImageGPTModel
SwiftFormerModel TextNetModel VitDetModel IJepaModel
"""
_AUDIO = """
Wav2Vec2Model Wav2Vec2ForCTC HubertModel WavLMModel UniSpeechModel UniSpeechSatModel SEWModel SEWDModel
Data2VecAudioModel Wav2Vec2ConformerModel Wav2Vec2BertModel WhisperModel WhisperForConditionalGeneration
Speech2TextModel ASTModel EncodecModel DacModel MimiModel MoonshineModel SeamlessM4Tv2Model VitsModel UnivNetModel
MusicgenModel ParakeetForCTC TimeSeriesTransformerModel PatchTSTModel
"""
_SEVERAL = """
CLIPModel ChineseCLIPModel AltCLIPModel SiglipModel AlignModel ClapModel BlipModel Blip2Model GitModel ViltModel
LayoutLMModel LayoutLMv3Model LxmertModel VisualBertModel FlavaModel BridgeTowerModel XCLIPModel CLIPSegModel
OwlViTModel GroupViTModel LlavaModel LlavaNextModel PaliGemmaModel Qwen2VLModel Qwen2_5_VLModel Idefics2Model
Idefics3Model Kosmos2Model InstructBlipModel MllamaModel GroundingDinoModel PerceiverModel UdopModel TvpModel
Qwen2AudioModel
"""
CLASSES = tuple(" ".join((_TEXT, _VISION, _AUDIO, _SEVERAL)).split())
"""Texts, images and videos, sound and series, several at once."""

_DEPTHS = re.compile(
    r"(num_|n_|.*_)?(hidden_)?layers?$|depth|.*_depth|num_blocks|num_block|num_stages_layers|n_layer|.*_num_layers"
)
_WIDTHS = re.compile(
    r".*(hidden_size|hidden_dim|d_model|embed_dim|n_embd|intermediate_size|ffn_dim|d_ff|inner_dim|projection_dim)$"
    r"|(.*_)?(head_dim|d_kv|dim|width|out_hidden_size|hidden_sizes|d_head|embedding_size|coordinate_size|shape_size|feed_forward_size|proj_size)$"
)
_COUNTS = re.compile(r".*(num_experts|n_routed_experts|num_local_experts|num_queries|codebook_size)$")
_DIVISORS = (8, 4, 1)
_RESNET = {"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1] * 4}
_QWEN_TEXT = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
}
_MORE: dict[str, dict[str, Any]] = {
    "DetrForObjectDetection": {
        "backbone_config": {**_RESNET, "out_features": ["stage4"]},
        "use_timm_backbone": False,
        "backbone": None,
    },
    "TimeSeriesTransformerModel": {"prediction_length": 8},
    "Blip2Model": {"image_token_index": 50265},
    "InstructBlipModel": {"image_token_index": 30522},
    "Qwen2VLModel": {
        "text_config": _QWEN_TEXT,
        "vision_config": {"embed_dim": 512, "num_heads": 4, "hidden_size": 512},
    },
    "Qwen2_5_VLModel": {
        "text_config": _QWEN_TEXT,
        "vision_config": {"hidden_size": 512, "num_heads": 4, "out_hidden_size": 512, "intermediate_size": 512},
    },
    "PaliGemmaModel": {"text_config": {"model_type": "gemma", "hidden_size": 2048}, "projection_dim": 2048},
}
"""Values that a default configuration lacks, or that it cannot have in small models."""

_WHOLE = ("DPT", "RTDetr", "Sam", "Mask2Former", "TextNet", "Align", "EfficientNet")
"""Beginnings of classes whose settings depend on each other, so that they are left as they are."""

_LARGEST = 3 * 10**8  # parameters


def hugging_face_models(every: bool = False) -> Factories:
    """Return the classes of `CLASSES`.

    Args:
        every: the base classes of all kinds of models instead.
    """
    if not every:
        return {name: partial(small_model, name) for name in CLASSES}
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    names = [name if isinstance(name, str) else name[0] for name in MODEL_MAPPING_NAMES.values()]
    return {name: partial(small_model, name) for name in dict.fromkeys(names)}


def small_model(name: str) -> nn.Module:
    """Build a model with random weights, as small as its configuration allows.

    Raises:
        InputError: it cannot be built small.
    """
    import transformers

    kind = getattr(transformers, name)
    problems = []
    for divisor in _DIVISORS:
        try:
            whole = name.startswith(_WHOLE)
            config = kind.config_class() if whole else small_config(kind.config_class(**_MORE.get(name, {})), divisor)
            if _size(kind, config) > _LARGEST:
                continue
            model: nn.Module = kind(config)
            return model.eval()
        except Exception as error:  # configurations check themselves, each in its own way
            problems.append(error)
    raise InputError(f"{name} cannot be built small: {problems[:1]}")


def _size(kind: Any, config: Any) -> int:
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in kind(config).parameters())


def small_config(config: Any, divisor: int) -> Any:
    """Return a configuration with two layers, and widths divided."""
    kind = type(config)
    settings = _settings(kind, config)
    defaults = vars(kind())
    changed = {name: value for name, value in settings.items() if _differs(value, defaults.get(name))}
    options = changed | dict(_smaller(settings, divisor))
    for name, part in vars(config).items():
        if hasattr(part, "model_type") and hasattr(part, "to_dict"):
            options[name] = small_config(part, divisor)
    return kind(**options)


def _differs(value: Any, default: Any) -> bool:
    return isinstance(value, int | float | str | list | tuple | dict) and value != default


def _settings(kind: Any, default: Any) -> Mapping[str, Any]:
    known = set(inspect.signature(kind.__init__).parameters) | set(getattr(kind, "__annotations__", {}))
    return {name: value for name, value in vars(default).items() if name in known}


def _smaller(settings: Mapping[str, Any], divisor: int) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name == "attention_types" and isinstance(value, list):  # GPT-Neo
            yield name, [[value[0][0], 1]]
        elif name in ("layer_types", "mlp_layer_types", "layers_block_type") and isinstance(value, list):
            yield name, value[:2]
        elif isinstance(value, bool) or value is None:
            continue
        elif _DEPTHS.fullmatch(name) and isinstance(value, int):
            yield name, min(value, 2)
        elif name == "depth_coefficient":
            yield name, 0.5
        elif name == "depths" and isinstance(value, list | tuple):
            yield name, [1] * len(value)
        elif _COUNTS.fullmatch(name) and isinstance(value, int):
            yield name, min(value, 16)
        elif _WIDTHS.fullmatch(name):
            yield name, _divided(value, divisor)


def _divided(value: Any, divisor: int) -> Any:
    if isinstance(value, int) and value % divisor == 0 and value >= 4 * divisor:
        return value // divisor
    if isinstance(value, list | tuple):
        return [_divided(member, divisor) for member in value]
    return value
