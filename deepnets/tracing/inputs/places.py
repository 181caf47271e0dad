"""Places of images and sounds in a text: language models want as many of them as there are features."""

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deepnets.tracing.dispatch import Recorder
from deepnets.tracing.errors import TraceError
from deepnets.tracing.inputs.arguments import BATCH, real_arguments
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import MAKERS
from deepnets.tracing.inputs.kinds.tokens import plain_tokens
from deepnets.tracing.inputs.named import combinations
from deepnets.tracing.restore.modules import replaced_tensors
from deepnets.tracing.tape import Tape

_WORDS = 4  # tokens behind the places
_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "image": (
        ("image_token_id", "image_token_index", "media_placeholder_token_id"),
        ("pixel_values", "image_grid_thw", "image_sizes", "image_position_ids"),
        "get_image_features",
    ),
    "audio": (
        ("audio_token_id", "audio_token_index"),
        ("input_features", "input_values", "input_features_mask", "feature_attention_mask"),
        "get_audio_features",
    ),
}
"""For each kind: settings that hold the token of a place, arguments, and the method that makes the features."""


def calls_with_places(facts: Facts) -> Iterator[dict[str, Tensor]]:
    """Provide arguments with a text in which images or sounds have places."""
    if "input_ids" not in facts.forward:
        return
    for settings, names, method in _KINDS.values():
        token, features = facts.find(*settings), _method(facts.model, method)
        given = [name for name in names if name in facts.forward]
        if not isinstance(token, int) or features is None or not given:
            continue
        needed = [name for name in given if is_needed(features, name)] or given[:1]
        for arguments in (a for names in (needed, given) for a in combinations({n: MAKERS[n](facts) for n in names})):
            count = _features(facts.model, features, arguments)
            if count:
                yield {**_text(facts, token, count // BATCH), **arguments}
                break


def is_needed(method: Callable[..., Any], name: str) -> bool:
    """Return whether a method has an argument without a default."""
    parameter = signature(method).parameters.get(name)
    return parameter is not None and parameter.default is Parameter.empty


def _method(model: nn.Module, name: str) -> Callable[..., Any] | None:
    owners = (model, getattr(model, "model", None))
    found: Callable[..., Any] | None = next((getattr(o, name) for o in owners if hasattr(o, name)), None)
    return found


def _features(model: nn.Module, method: Callable[..., Any], arguments: Mapping[str, Tensor]) -> int:
    """Return how many features a tower makes of its inputs; 0 if it fails."""
    stand_ins = {id(p): torch.empty_like(p, device="meta", requires_grad=False) for p in model.parameters()}
    try:
        out = _called(model, method, arguments, stand_ins)
    except TraceError:  # it reads numbers
        if any(parameter.is_meta for parameter in model.parameters()):
            return 0
        out = _called(model, method, real_arguments(((), dict(arguments)), None)[1], {})
    made = getattr(out, "pooler_output", None)
    tensors = [leaf for leaf in tree_leaves(out if made is None else made) if isinstance(leaf, Tensor) and leaf.dim()]
    return sum(tensor.numel() // tensor.shape[-1] for tensor in tensors)


def _called(
    model: nn.Module, method: Callable[..., Any], arguments: Mapping[str, Tensor], stand_ins: dict[int, Tensor]
) -> Any:
    """Call a method of a model, on meta tensors if its parameters have stand-ins; return None if it fails."""
    recorder = Recorder(Tape({}), compute=not stand_ins)
    with replaced_tensors(model, stand_ins):
        try:
            with torch.no_grad(), recorder:
                return method(**arguments)
        except TraceError:
            if stand_ins:
                raise
            return None
        except Exception:  # whatever the model raises
            return None
        finally:
            recorder.writes.undo()


def _text(facts: Facts, token: int, count: int) -> dict[str, Tensor]:
    """Return a text with places, and which of its tokens are places, if the model wants to know."""
    plain = plain_tokens(facts, 2 * _WORDS)
    words = [plain[i % len(plain)] for i in range(_WORDS)]
    ids = torch.tensor([words[0], *[token] * count, *words]).repeat(BATCH, 1)
    kinds = {"mm_token_type_ids": (ids == token).long()} if "mm_token_type_ids" in facts.forward else {}
    return {"input_ids": ids, **kinds}
