"""Operators that are given functions of the model: a condition with its two branches, attention with a function of the
scores."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Parametric, TensorRole

HigherOrderRule = Callable[[TorchDispatchMode, Tape, Any, Sequence[Any]], Any]
"""Run and record an operator. Arguments: the mode that records, which is not active; tape; operator; its arguments."""


def record_condition(mode: TorchDispatchMode, tape: Tape, operator: Any, args: Sequence[Any]) -> Any:
    """Run the branch of `torch.cond` that these inputs take; that reads a value of the model."""
    condition, if_true, if_false, operands = args
    with mode:
        return (if_true if condition else if_false)(*operands)


def record_flex_attention(mode: TorchDispatchMode, tape: Tape, operator: Any, args: Sequence[Any]) -> Any:
    """Attention as one node; it also reads the activations that the function of the scores reads."""
    values = [tape.value(a) for a in args[:3]]
    producers = [p for value in values if isinstance(value, Activation) for p in value.producers]
    for value in values:
        if isinstance(value, Parametric):
            tape.leave_out(value, "learnt queries, keys or values of attention")
    if producers:
        score, number = torch.zeros(()), torch.zeros((), dtype=torch.long)
        tape.set_value(score, Activation(tuple(dict.fromkeys(producers)), TensorRole.PRODUCT))
        with mode:
            score = args[3](score, number, number, number, number)
        value = tape.value(score)
        producers += value.producers if isinstance(value, Activation) else ()
    out = operator(*args)
    if producers:
        attention = tape.add_attention(tuple(dict.fromkeys(producers)))
        for tensor in out:
            if isinstance(tensor, Tensor):
                tape.set_value(tensor, attention)
    return out


HIGHER_ORDER_RULES: dict[str, HigherOrderRule] = {
    "cond": record_condition,
    "flex_attention": record_flex_attention,
}
"""Rules by the name of the operator; others cannot be recorded."""
