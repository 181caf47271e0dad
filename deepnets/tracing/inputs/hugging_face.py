"""Models of Hugging Face: every tower gets an input, in the sizes of the configuration."""

from collections.abc import Iterator, Sequence
from itertools import islice

from torch import Tensor

from deepnets.tracing.inputs.arguments import Arguments
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import MAKERS
from deepnets.tracing.inputs.named import combinations
from deepnets.tracing.inputs.places import calls_with_places

_MOST = 12  # calls before the one with a text alone
_TOWERS = (
    *("input_ids", "pixel_values", "input_values", "input_features", "bbox", "decoder_input_ids", "past_values"),
    *("visual_feats", "visual_pos", "visual_embeds", "audio_values", "pixel_values_videos"),
)


def hugging_face_calls(facts: Facts) -> Iterator[Arguments]:
    """Provide calls with an input for every tower, then with fewer."""
    main = getattr(facts.model, "main_input_name", None)
    if main is None or not hasattr(facts.config, "model_type"):
        return
    for arguments in calls_with_places(facts):
        yield (), arguments
    mains = [main] if isinstance(main, str) else list(main)
    choices = list(dict.fromkeys(map(tuple, _argument_names(facts, mains))))
    calls = (arguments for names in choices for arguments in _calls_with(names, facts))
    yield from (((), arguments) for arguments in islice(calls, _MOST))
    yield from (((), arguments) for arguments in islice(_calls_with(choices[-1], facts), 1))


def _calls_with(names: Sequence[str], facts: Facts) -> Iterator[dict[str, Tensor]]:
    if names and all(name in MAKERS for name in names):
        yield from combinations({name: MAKERS[name](facts) for name in names})


def _argument_names(facts: Facts, mains: Sequence[str]) -> Iterator[list[str]]:
    """Provide the arguments of a call: all towers, those that have no default and the main one, the main one alone."""
    required = facts.required
    towers = [name for name in _TOWERS if name in facts.forward]
    if not getattr(facts.config, "is_encoder_decoder", False) and "decoder_input_ids" not in required:
        towers = [name for name in towers if name != "decoder_input_ids"]
    main = [name for name in mains if name in facts.forward and name not in required]
    yield list(dict.fromkeys((*main, *required, *towers)))
    yield list(dict.fromkeys((*main, *required, *(t for t in towers if t in ("input_ids", "decoder_input_ids")))))
    yield [*main, *required]
    yield main
    yield [*required, *(t for t in towers if t == "input_ids")]
