"""Models of Hugging Face's transformers with small configurations: two layers, and an eighth of the width."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn

from benchmarks.performance.model_zoo.vision import Factories
from deepnets.utils.errors import InputError

_DEPTHS = re.compile(
    r"(num_|n_|.*_)?(hidden_)?layers?$|depth|.*_depth|num_blocks|num_block|num_stages_layers|n_layer|.*_num_layers"
)
_WIDTHS = re.compile(
    r".*(hidden_size|hidden_dim|d_model|embed_dim|n_embd|intermediate_size|ffn_dim|d_ff|inner_dim|projection_dim)$"
    r"|(.*_)?(head_dim|d_kv|dim|width|out_hidden_size|hidden_sizes|d_head|embedding_size|feed_forward_size|proj_size)$"
)
_COUNTS = re.compile(r".*(num_experts|n_routed_experts|num_local_experts|num_queries|codebook_size)$")
_DIVISORS = (8, 4, 1)
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
            config = small_config(kind.config_class, divisor)
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


def small_config(kind: Any, divisor: int) -> Any:
    """Return the default configuration of a kind with two layers, and widths divided."""
    default = kind()
    options = dict(_smaller(_settings(kind, default), divisor))
    for name, part in vars(default).items():
        if hasattr(part, "model_type") and hasattr(part, "to_dict"):
            options[name] = small_config(type(part), divisor)
    return kind(**options)


def _settings(kind: Any, default: Any) -> Mapping[str, Any]:
    known = set(inspect.signature(kind.__init__).parameters) | set(getattr(kind, "__annotations__", {}))
    return {name: value for name, value in vars(default).items() if name in known}


def _smaller(settings: Mapping[str, Any], divisor: int) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name in ("layer_types", "mlp_layer_types", "layers_block_type") and isinstance(value, list):
            yield name, value[:2]
        elif isinstance(value, bool) or value is None:
            continue
        elif _DEPTHS.fullmatch(name) and isinstance(value, int):
            yield name, min(value, 2)
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


CLASSES: tuple[str, ...] = ()
