"""Failed calls: what the error says about them, and the call that it suggests."""

import re
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deepnets.tracing.inputs.arguments import Arguments
from deepnets.tracing.inputs.facts import Facts

_SHAPE_WORDS = re.compile(
    r"shape|size|dimension|\bdims?\b|channel|cannot be multiplied|broadcast|divisible|height|width|length"
    r"|expected .*input|must match|too small|out of range",
    re.IGNORECASE,
)
_EXAMPLES = 3
_MOST = 8  # arguments of `forward` that are named


def is_about_sizes(error: BaseException | None) -> bool:
    """Return whether a model failed because of the size of an input."""
    is_usual = isinstance(error, RuntimeError | ValueError | IndexError | AssertionError | TypeError)
    return is_usual and not isinstance(error, NotImplementedError) and bool(_SHAPE_WORDS.search(str(error)))


def shapes_of(arguments: Arguments) -> str:
    """Return the shapes of the tensors of a call, with the names of keyword arguments."""
    args, kwargs = arguments
    texts = [_shapes(value) for value in args] + [f"{name} {_shapes(value)}" for name, value in kwargs.items()]
    return ", ".join(text for text in texts if text) or "none"


def _shapes(value: Any) -> str:
    return ", ".join(str(tuple(leaf.shape)) for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def advice(model: nn.Module, calls: Sequence[Arguments], sizes: bool) -> str:
    """Return what to do about calls that failed.

    Args:
        model: the network.
        calls: the arguments that were tried, at least one set.
        sizes: whether the sizes of the inputs were the trouble.
    """
    facts = Facts(model)
    others = [shapes_of(call) for call in calls[1 : _EXAMPLES + 1]]
    more = ", ..." if len(calls) > _EXAMPLES + 1 else ""
    tried = f"; tried too: {'; '.join(others)}{more}" if others else ""
    size = "give the size it expects (input_size) or other inputs" if sizes else "give other inputs"
    takes = f"; forward takes ({_signature(facts)}): {size}, as in {_example(facts, calls[0])}"
    return tried + takes


def _signature(facts: Facts) -> str:
    names = [name if p.default is Parameter.empty else f"{name}={p.default!r}" for name, p in facts.forward.items()]
    return ", ".join(names[:_MOST] + (["..."] if len(names) > _MOST else [])) or "*args, **kwargs"


def _example(facts: Facts, call: Arguments) -> str:
    """Return the call of `trace` with every argument that `forward` needs."""
    args, kwargs = call
    named = dict(zip(facts.forward, args, strict=False)) | kwargs
    needed = dict.fromkeys((*named, *facts.required))
    if not needed:
        return f"trace(model, inputs=({', '.join(map(_literal, args))},))"
    return f"trace(model, inputs={{{', '.join(f'{name!r}: {_literal(named.get(name))}' for name in needed)}}})"


def _literal(value: Any) -> str:
    if isinstance(value, Tensor):
        kind = "" if value.is_floating_point() else f", dtype={value.dtype}"
        return f"torch.zeros({', '.join(map(str, value.shape)) or '()'}{kind})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_literal(member)}' for key, member in value.items())}}}"
    return "..." if value is None else repr(value)
