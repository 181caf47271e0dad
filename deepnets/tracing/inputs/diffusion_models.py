"""Models of diffusers: what they are conditioned on often has a default in the signature, but is needed."""

from collections.abc import Iterator, Mapping

from deepnets.tracing.inputs.arguments import Arguments
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import MAKERS
from deepnets.tracing.inputs.named import combinations

_CONDITIONS = ("timestep", "encoder_hidden_states", "pooled_projections", "class_labels", "img_ids", "txt_ids")


def diffusion_calls(facts: Facts) -> Iterator[Arguments]:
    """Provide calls with what has no default, then with all conditions."""
    if not isinstance(facts.config, Mapping) or not hasattr(facts.model, "register_to_config"):
        return
    conditions = [name for name in _CONDITIONS if name in facts.forward]
    guidance = ["guidance"] if facts.find("guidance_embeds") and "guidance" in facts.forward else []
    for names in (facts.required, [*dict.fromkeys((*facts.required, *conditions, *guidance))]):
        if names and all(name in MAKERS for name in names):
            for arguments in combinations({name: MAKERS[name](facts) for name in names}):
                yield (), arguments
