"""The registry of rules, and the default for operations without one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Parametric, TensorRole, Value
from deepnets.utils.errors import InputError


@dataclass(frozen=True)
class Operation:
    """One call of an ATen operation.

    Args:
        name: its name without the overload, for example "addmm".
        args: all arguments in the order of its schema, those that were not passed as None.
    """

    name: str
    args: Sequence[Any]


Rule = Callable[[Tape, Operation], Value | None]
"""Add the nodes of an operation and return the value of its result; None where the rule does not apply."""

_R = TypeVar("_R", bound=Rule)
_RULES: dict[str, Rule] = {}
_OF_USERS: dict[str, Callable[..., Any] | None] = {}

ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
"""Fused attention operations."""

_PRODUCTS = ("mm", "bmm", "mv", "addmm", "baddbmm", "addbmm", "convolution", *ATTENTION)
"""Operations of layers. Others that read parameters make weights of them, and so do products of two parameters."""


_MULTIPLICATIONS = ("mul", "div", "mm", "bmm", "mv", "dot", "convolution")
"""Operations whose result is zero if an operand is."""

_LOOKUPS = ("embedding", "_embedding_bag", "_embedding_bag_forward_only", "index", "index_select", "gather")
"""Operations that read integers as indices of a table."""

_VIEWS = (
    *("view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "unsqueeze", "squeeze", "select"),
    *("slice", "split", "split_with_sizes", "unbind", "alias", "detach", "clone", "_to_copy", "lift_fresh", "repeat"),
)
ZEROS = ("zeros", "zeros_like", "new_zeros", "zero")
"""Operations that make zeros."""

_KEEP_ROLE = frozenset((*_VIEWS, "mul", "div", "add", "sub", "rsub", "neg", "pow", "var", "var_mean", "sum", "mean"))
"""Operations that a norm layer written by hand consists of; others end its normalization."""


def rule(*names: str) -> Callable[[_R], _R]:
    """Register a function as the rule of these operations."""

    def register(function: _R) -> _R:
        for name in names:
            assert name not in _RULES, name
            _RULES[name] = function
        return function

    return register


def operation_name(operator: Any) -> str:
    """Return the name that rules know an operation by: "add" for those of PyTorch, else with its library."""
    name: str = operator.overloadpacket.__name__
    return name if operator.namespace == "aten" else f"{operator.namespace}::{name}"


def set_user_rule(name: str, rule: Rule, outputs: Callable[..., Any] | None) -> None:
    """Set or replace the rule of an operator of a user.

    Args:
        name: library and operator, as in "mylib::scan".
        rule: its rule.
        outputs: what makes its results on the meta device, if it does not run there.

    Raises:
        InputError: an operator with a rule of this package.
    """
    name = name.removeprefix("aten::")
    if name in _RULES and name not in _OF_USERS:
        raise InputError(f"{name} has a rule; accepted: an operator of your own, as in 'mylib::scan'")
    _RULES[name] = rule
    _OF_USERS[name] = outputs


def user_outputs(name: str) -> Callable[..., Any] | None:
    """Return what makes the results of an operator of a user on the meta device, if there is something."""
    return _OF_USERS.get(name)


def makes_zeros(tape: Tape, name: str, args: Sequence[Any], values: Sequence[Value]) -> bool:
    """Return whether an operation makes a constant that is zero: of nothing, of zeros, or of a parameter times zeros.

    A recurrence often starts with such a state, which no parameter is read for.
    """
    name = name.removesuffix("_")
    if name in ZEROS:
        return True
    if not values:
        return name in _VIEWS and tape.is_zero(args[0])
    is_product = name in _MULTIPLICATIONS and len(values) == 1 and isinstance(values[0], Parametric)
    return is_product and any(tape.is_zero(a) for a in args[:2])


def record(tape: Tape, name: str, func: Any, args: Sequence[Any], kwargs: dict[str, Any], values: list[Value]) -> Value:
    """Add the nodes of an operation to the tape and return the value of its result.

    Args:
        tape: record of the call so far.
        name: the operation, without its overload.
        func: the operation itself, for its schema.
        args: positional arguments.
        kwargs: keyword arguments.
        values: the values of the tensors among them; at least one.
    """
    activations = [value for value in values if isinstance(value, Activation)]
    parametric = any(isinstance(value, Parametric) for value in values)
    if any(activation.role is TensorRole.INDEX for activation in activations) and not (parametric and name in _LOOKUPS):
        others = [activation for activation in activations if activation.role is not TensorRole.INDEX]
        if not others and not parametric:
            return Activation(tuple(dict.fromkeys(p for a in activations for p in a.producers)), TensorRole.INDEX)
        if others:  # masks and indices are as good as constants
            tape.ignores_indices = True
            try:
                values = [*others, *(value for value in values if isinstance(value, Parametric))]
                return _record(tape, name, func, args, kwargs, values)
            finally:
                tape.ignores_indices = False
    return _record(tape, name, func, args, kwargs, values)


def _record(
    tape: Tape, name: str, func: Any, args: Sequence[Any], kwargs: dict[str, Any], values: Sequence[Value]
) -> Value:
    apply_rule = _RULES.get(name.removesuffix("_"))
    if apply_rule is not None:
        args = [*args, *(kwargs.get(a.name) for a in func._schema.arguments[len(args) :])]
    return record_call(tape, name, apply_rule, args, values)


def record_call(tape: Tape, name: str, apply_rule: Rule | None, args: Sequence[Any], values: Sequence[Value]) -> Value:
    """Add the nodes of a call by its rule, and return the value of its result.

    Args:
        tape: record of the call so far.
        name: name of the function.
        apply_rule: its rule, if there is one.
        args: all arguments in the order of its schema.
        values: the values of the tensors among them; at least one.
    """
    activations = [value for value in values if isinstance(value, Activation)]
    parametric = merge_parametric(tape, values)
    if not activations:
        assert parametric is not None
        several = sum(isinstance(value, Parametric) for value in values) > 1
        return replace(parametric, computed=True) if several and name in _PRODUCTS else parametric
    value = None if apply_rule is None else apply_rule(tape, Operation(name, args))
    return _record_without_rule(tape, name, activations, parametric) if value is None else value


def merge_parametric(tape: Tape, values: Sequence[Value]) -> Parametric | None:
    """Merge the parametric ones among the operands; None if there are none.

    The result is `computed` if its largest operand is (learnt queries plus a bias: yes; a weight plus a low-rank
    update: no).
    """
    parts = [value for value in values if isinstance(value, Parametric)]
    if not parts:
        return None
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    largest = max(parts, key=lambda part: (max(map(tape.size, part.names)), not part.computed))
    return Parametric(names, largest.computed)


def _record_without_rule(
    tape: Tape, name: str, activations: Sequence[Activation], parametric: Parametric | None
) -> Value:
    """An operation on one activation passes it on; an operation on several is drawn as their sum."""
    if parametric is not None:
        tape.leave_out(parametric, f"only used by the operation {name}")
    if len({activation.producers for activation in activations}) == 1:
        tape.left_out[name] += 1
        ended = activations[0].role in (TensorRole.NORMALIZED, TensorRole.SCALED) and name not in _KEEP_ROLE
        return Activation(activations[0].producers) if ended else activations[0]
    tape.notes.append(f"the operation {name} on several activations is drawn as sum")
    return tape.add_node("sum", activations)
