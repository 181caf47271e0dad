"""Rules of users, for operators and autograd functions of their own."""

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverloadPacket
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack

from deepnets.tracing.dispatch import Recorder
from deepnets.tracing.rules.registry import Rule, set_user_rule
from deepnets.utils.errors import InputError

_FUNCTIONS: dict[type[torch.autograd.Function], tuple[Rule, Callable[..., Any] | None]] = {}

Target = str | OpOverloadPacket | type[torch.autograd.Function]


def register(target: Target, outputs: Callable[..., Any] | None = None) -> Callable[[Rule], Rule]:
    """Register the rule of an operator or autograd function of your own: the nodes that it becomes in a graph.

    Without a rule, an operator passes an activation on, is drawn as the sum of several, and has no node for its
    parameters; an autograd function is recorded as the operations of its `forward`.

    A rule is a function of the tape and the call. `tape.value(argument)` is an `Activation`, a `Parametric` (made of
    parameters), or None (a constant). `tape.add_parameter_node(primitive, reads, parametric)` adds a node for a
    parameter, `tape.add_node(primitive, reads)` one without, `tape.leave_out(parametric, reason)` says why there is
    none. The rule returns the value of the result, or None where it does not apply.

    >>> import torch
    >>> from deepnets.tracing import register
    >>> class Scan(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x, weight):
    ...         return torch.from_numpy(x.detach().numpy() @ weight.detach().numpy())  # a kernel of your own
    >>> @register(Scan, outputs=lambda x, weight: x.new_empty(*x.shape[:-1], weight.shape[1]))
    ... def scan(tape, call):
    ...     x, weight = (tape.value(argument) for argument in call.args)
    ...     return tape.add_parameter_node("conv", [x], weight, shape=lambda size: size[::-1])

    Args:
        target: an operator, as in "mylib::scan" or `torch.ops.mylib.scan`, or a subclass of
            `torch.autograd.Function`. A rule that was registered for it before is replaced.
        outputs: for kernels that do not run on the meta device: from the arguments to tensors of the shapes that the
            call returns. Without it, small models with such a kernel are run on numbers.

    Returns:
        A decorator of the rule.

    Raises:
        InputError: something else, or an operator of PyTorch that has a rule already.
    """
    if isinstance(target, type) and issubclass(target, torch.autograd.Function):
        function = target

        def set_function_rule(rule: Rule) -> Rule:
            if function not in _FUNCTIONS:
                _instrument(function)
            _FUNCTIONS[function] = rule, outputs
            return rule

        return set_function_rule
    name = target._qualified_op_name if isinstance(target, OpOverloadPacket) else target
    if not isinstance(name, str) or not all(name.partition("::")):
        raise InputError(
            f"target is {target!r}; accepted: an operator, as in 'mylib::scan', or a subclass of "
            "torch.autograd.Function"
        )

    def set_rule(rule: Rule) -> Rule:
        set_user_rule(name, rule, outputs)
        return rule

    return set_rule


def _instrument(function: type[torch.autograd.Function]) -> None:
    """Let calls of an autograd function be recorded as a whole while a model is traced; others are as before."""
    apply = function.apply

    def recorded_apply(*args: Any, **kwargs: Any) -> Any:
        recorder = next((mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Recorder)), None)
        if recorder is None or kwargs:
            return apply(*args, **kwargs)
        rule, outputs = _FUNCTIONS[function]
        with _disable_current_modes():
            return recorder.record_call(function.__name__, rule, apply, outputs, args)

    function.apply = staticmethod(recorded_apply)
