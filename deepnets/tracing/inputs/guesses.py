"""Guesses: the calls that a model is tried with if the user does not say what it takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from deepnets.tracing.errors import TraceError
from deepnets.tracing.inputs.arguments import Arguments, traced_arguments
from deepnets.tracing.inputs.detection import detection_calls
from deepnets.tracing.inputs.diffusion_models import diffusion_calls
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.hugging_face import hugging_face_calls
from deepnets.tracing.inputs.kinds import audio, diffusion, graphs, pixels, tokens  # noqa: F401 (register their arguments)
from deepnets.tracing.inputs.layers import image
from deepnets.tracing.inputs.named import calls_by_signature

_MOST = 16  # calls that are tried


def possible_calls(model: nn.Module, input_size: int | Sequence[int] | None, inputs: Any) -> Iterator[Arguments]:
    """Provide the calls that a model may be traced with, the most likely first.

    Args:
        model: the network.
        input_size: as for `deepnets.trace`.
        inputs: as for `deepnets.trace`.

    Raises:
        TraceError: a size that is not positive, or larger than a tensor can be.
    """
    if inputs is not None:
        yield traced_arguments(inputs)
        return
    facts = Facts(model)
    if input_size is not None:
        yield (_image_of(facts, input_size),), {}
        return
    for family in FAMILIES:
        calls = list(islice(_distinct(family(facts)), _MOST))
        if calls:
            yield from calls
            return


def _declared_calls(facts: Facts) -> Iterator[Arguments]:
    """Provide what the model has as an example: `example_input_array` (Lightning) or `dummy_inputs`."""
    example = getattr(facts.model, "example_input_array", None)
    if example is not None:
        yield traced_arguments(example)
    dummy = None if hasattr(facts.model, "main_input_name") else getattr(facts.model, "dummy_inputs", None)
    if isinstance(dummy, Mapping):
        yield traced_arguments({name: value for name, value in dummy.items() if isinstance(value, Tensor)})


FAMILIES: tuple[Callable[[Facts], Iterator[Arguments]], ...] = (
    _declared_calls,
    detection_calls,
    hugging_face_calls,
    diffusion_calls,
    calls_by_signature,
)
"""Who may know what a model takes, in the order in which they are asked; the first that knows something is heard."""


def _distinct(calls: Iterator[Arguments]) -> Iterator[Arguments]:
    """Leave out calls with the same kinds and shapes of tensors as one before."""
    seen = set()
    for args, kwargs in calls:
        key = (str(tree_map_only(Tensor, _key, args)), str(tree_map_only(Tensor, _key, kwargs)))
        if key not in seen:
            seen.add(key)
            yield args, kwargs


def _key(tensor: Tensor) -> str:
    return f"{tensor.dtype}{tuple(tensor.shape)}"


def _image_of(facts: Facts, input_size: int | Sequence[int]) -> Tensor:
    shape = (input_size,) if isinstance(input_size, int) else tuple(input_size)
    if any(n < 1 for n in shape):
        raise TraceError(f"input_size is {input_size}; sizes must be 1 or more")
    try:
        return image(facts, input_size) if isinstance(input_size, int) else facts.floats(*shape)
    except RuntimeError:
        raise TraceError(f"input_size is {input_size}, larger than any tensor can be") from None
