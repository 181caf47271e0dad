"""Rules of arithmetic: sums, products, concatenations, means, and norm layers written by hand.

A product of activations outside of attention is `cse` (squeeze and excite). A table added to activations is `pos_enc`
and a `sum`. Class tokens, layer scale and tables added to attention scores become no node.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deepnets.tracing.rules.layers import COMPUTED, join
from deepnets.tracing.rules.registry import Operation, merge_parametric, rule
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Parametric, TensorRole, Value


@rule("mean")
def mean(tape: Tape, operation: Operation) -> Value | None:
    """A mean over positions is global average pooling; one over channels is a statistic of a norm layer."""
    args = operation.args
    x = tape.value(args[0])
    ended = (TensorRole.PLAIN, TensorRole.NORMALIZED, TensorRole.SCALED)
    if not isinstance(x, Activation) or x.role not in ended or len(args) < 3 or args[1] is None:
        return None
    ndim, keepdim = args[0].dim(), bool(args[2])
    reduced = {d % ndim for d in args[1]}
    positions = len(reduced) == ndim - 2 and 0 not in reduced
    over_channels = reduced == {ndim - 1} and keepdim
    return tape.add_node("glob_avg", [x]) if positions and not over_channels else None


@rule("rsqrt", "sqrt", "std", "linalg_vector_norm", "norm")
def statistic(tape: Tape, operation: Operation) -> Value | None:
    """A standard deviation or a norm, by which activations may be normalized."""
    x = tape.value(operation.args[0])
    tape.left_out[operation.name] += 1
    return Activation(x.producers, TensorRole.STATISTIC) if isinstance(x, Activation) else None


@rule("_softmax", "_safe_softmax")
def softmax(tape: Tape, operation: Operation) -> Value | None:
    """A softmax: its result are attention weights, which the next product applies to the values."""
    x = tape.value(operation.args[0])
    tape.left_out[operation.name] += 1
    if not isinstance(x, Activation):
        return None
    return x if x.role is TensorRole.PRODUCT else Activation(x.producers, TensorRole.WEIGHTS)


@rule("cat", "stack")
def concat(tape: Tape, operation: Operation) -> Value | None:
    """A concatenation."""
    values = [tape.value(t) for t in operation.args[0]]
    for value in values:
        if isinstance(value, Parametric):
            tape.leave_out(value, "a token concatenated with activations")
    return tape.add_node("concat", [value for value in values if isinstance(value, Activation)])


@rule("add", "sub", "rsub")
def add(tape: Tape, operation: Operation) -> Value | None:
    """A sum or difference: of activations; with a bias or positional encodings; or a step of a norm layer."""
    first, second = operation.args[:2]
    a, b = tape.value(first), tape.value(second)
    if isinstance(a, Activation) and isinstance(b, Activation):
        subtracts = operation.name.startswith(("sub", "rsub"))
        if subtracts and a.producers == b.producers and a.role is b.role is TensorRole.PLAIN:
            return Activation(a.producers, TensorRole.CENTERED)
        return join(tape, "sum", a, b)
    for x, other, tensor in ((a, b, second), (b, a, first)):
        if isinstance(x, Activation) and isinstance(other, Parametric):
            return _add_parameter(tape, x, other, tensor.shape)
    return None


@rule("addcmul", "addcdiv")
def add_product(tape: Tape, operation: Operation) -> Value | None:
    """A sum with a product or quotient: x + first * second, or x + first / second."""
    added, first, second = operation.args[:3]
    a, factors = tape.value(added), [tape.value(first), tape.value(second)]
    b = _multiply(tape, first, second)
    if b is None:  # constants, parameters, or an activation times a constant
        b = next((f for f in factors if isinstance(f, Activation)), None)
        b = b or merge_parametric(tape, [f for f in factors if f])
    if isinstance(a, Activation) and isinstance(b, Activation):
        return join(tape, "sum", a, b)
    shape = np.broadcast_shapes(first.shape, second.shape)
    for x, other, size in ((a, b, shape), (b, a, added.shape)):
        if isinstance(x, Activation):
            return _add_parameter(tape, x, other, size) if isinstance(other, Parametric) else x
    return None


def _add_parameter(tape: Tape, x: Activation, added: Parametric, shape: Sequence[int]) -> Activation:
    if x.role is TensorRole.PRODUCT:
        tape.leave_out(added, "added to attention scores")
        return x
    if tape.is_number(added):
        tape.leave_out(added, "a number that is added to activations")
        return x
    if x.role is TensorRole.SCALED:  # the bias of a norm layer written by hand
        tape.absorb(added.names, tape.nodes[x.producers[0]].name)
        return Activation(x.producers)
    if added.computed:
        tape.leave_out(added, COMPUTED)
        return x
    if sum(size > 1 for size in shape) <= 1:
        return tape.add_parameter_node("bias", [x], added)
    return tape.add_node("sum", [x, tape.add_parameter_node("pos_enc", [], added)])


@rule("mul", "div")
def multiply(tape: Tape, operation: Operation) -> Value | None:
    """A product: of activations; with a scale; or a step of a norm layer."""
    return _multiply(tape, *operation.args[:2])


def _multiply(tape: Tape, first: Any, second: Any) -> Value | None:
    a, b = tape.value(first), tape.value(second)
    if isinstance(a, Activation) and isinstance(b, Activation):
        if a.producers == b.producers and TensorRole.STATISTIC in (a.role, b.role):
            scale = a.scale or b.scale
            normalized = Activation(a.producers, TensorRole.NORMALIZED)
            return normalized if scale is None else _scale(tape, normalized, scale)
        return join(tape, "cse", a, b)
    for x, other in ((a, b), (b, a)):
        if isinstance(x, Activation) and isinstance(other, Parametric):
            return _scale(tape, x, other)
    return None


def _scale(tape: Tape, x: Activation, scale: Parametric) -> Activation:
    """Multiply an activation with a parameter: the weight of a norm layer, or layer scale."""
    if x.role is TensorRole.NORMALIZED and tape.size(tape.main_parameter(scale)) > 1:
        return _add_hand_written_norm(tape, x, scale)
    if x.role is TensorRole.CENTERED:
        x = replace(x, scale=scale)
    tape.leave_out(scale, "a scale on activations")
    return Activation(x.producers) if x.role is TensorRole.NORMALIZED else x


def _add_hand_written_norm(tape: Tape, normalized: Activation, scale: Parametric) -> Activation:
    return Activation(tape.add_parameter_node("ln", [normalized], scale).producers, TensorRole.SCALED)
