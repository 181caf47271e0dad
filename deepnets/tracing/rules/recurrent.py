"""Recurrent layers: one node for each weight, however long the input is.

Each layer and direction is drawn as one step: what is made of its input (weight_ih, bias_ih), and what is made of that
as its state (weight_hh, bias_hh), are summed up; two directions are concatenated.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from torch import Tensor

from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Parametric

RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
"""Functions of PyTorch that run recurrent layers over all steps of a sequence."""


def record_recurrent(tape: Tape, args: Sequence[Any]) -> Activation | None:
    """Add the nodes of recurrent layers.

    Args:
        tape: record of the call so far.
        args: arguments of one of `RECURRENT`: input, state, weights, and so on; packed sequences have their batch sizes
            second.

    Returns:
        What the layers make; None if their input or weights are something else than activations and parameters.
    """
    is_packed = isinstance(args[3], list | tuple)
    weights = list(args[3] if is_packed else args[2])
    has_bias, num_layers, _, _, bidirectional = args[4:9] if is_packed else args[3:8]
    x, state = tape.value(args[0]), args[2] if is_packed else args[1]
    values = [tape.value(weight) for weight in weights]
    parameters = [value for value in values if isinstance(value, Parametric)]
    if not isinstance(x, Activation) or len(parameters) < len(weights):
        return None
    directions = 2 if bidirectional else 1
    size = len(weights) // (num_layers * directions)  # weights of a layer and direction
    initial = next((a for s in _tensors(state) if isinstance(a := tape.value(s), Activation)), None)
    weight = iter(parameters)
    for _ in range(num_layers):
        outputs = [_record_layer(tape, x, initial, list(islice(weight, size)), has_bias) for _ in range(directions)]
        x = tape.add_node("concat", outputs) if directions > 1 else outputs[0]
    return x


def _record_layer(
    tape: Tape, x: Activation, initial: Activation | None, weights: Sequence[Parametric], has_bias: bool
) -> Activation:
    read = tape.add_parameter_node("conv", [x], weights[0])
    if has_bias:
        read = tape.add_parameter_node("bias", [read], weights[2])
    state = read if initial is None else tape.add_node("sum", [read, initial])
    state = tape.add_parameter_node("conv", [state], weights[1])
    if has_bias:
        state = tape.add_parameter_node("bias", [state], weights[3])
    output = tape.add_node("sum", [read, state])
    for projection in weights[4 if has_bias else 2 :]:  # of an LSTM with proj_size
        output = tape.add_parameter_node("conv", [output], projection)
    return output


def _tensors(state: Any) -> list[Tensor]:
    return list(state) if isinstance(state, list | tuple) else [state]
