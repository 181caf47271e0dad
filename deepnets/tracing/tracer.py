"""The function `trace`: from any nn.Module to its architecture graph."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.tracing.dispatch import Recorder
from deepnets.tracing.errors import TraceError
from deepnets.tracing.graph_builder import build_graph
from deepnets.tracing.inputs import Arguments, model_arguments
from deepnets.tracing.module_state import restored_modules, without_fast_path
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation
from deepnets.utils.errors import one_line

_EXAMPLES = 3


def trace(
    model: nn.Module,
    input_size: int | Sequence[int] | None = None,
    inputs: Any = None,
    strict: bool = False,
) -> ArchGraph:
    """Return the computational graph of any network, without running it on numbers.

    The model is called once, in the mode it is in (training or evaluation), on meta tensors; it is not changed. Nodes
    are in the order of execution, the last ones belong to the output. `graph.report` says what was left out.

    >>> graph = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)), input_size=8)
    >>> graph.name.tolist()
    ['input', '0.weight', '0.bias', '3.weight', '3.bias']

    Args:
        model: the network; its parameters may be on any device, also on meta.
        input_size: height and width of an image, or the whole shape of the input without the batch, for example
            (3, 224, 224); by default what the model or its configuration says, else 224.
        inputs: what to call the model with instead of an image: a tensor, a tuple of arguments, or a mapping of keyword
            arguments. The first tensor is the input node 0.
        strict: raise if a parameter has no node.

    Raises:
        TraceError: a model without parameters, one that fails or needs other inputs, or whose control flow depends on
            the values of activations; with `strict`, parameters without a node.
    """
    parameters = _checked_parameters(model)
    arguments = model_arguments(model, input_size, inputs)
    stand_ins = {name: torch.empty_like(parameter, device="meta") for name, parameter in parameters.items()}
    tape = Tape(stand_ins)
    for leaf in tree_leaves(arguments):
        if isinstance(leaf, Tensor) and leaf.is_meta:
            tape.set_value(leaf, tape.add_node("input", []))
    out = _run(model, stand_ins, arguments, tape)
    outputs = [value for leaf in tree_leaves(_plain(out)) if isinstance(value := tape.value(leaf), Activation)]
    if not outputs:
        raise TraceError(f"the output of {type(model).__name__} does not depend on its input")
    graph = build_graph(tape, [tape.resolve(value).producers[0] for value in outputs])
    if strict:
        _check_complete(graph)
    return graph


def _checked_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters by name.

    Raises:
        TraceError: a model that cannot be traced at all.
    """
    parameters = dict(model.named_parameters())
    if not parameters:
        raise TraceError(f"{type(model).__name__} has no parameters, so there is nothing to trace")
    for name, parameter in parameters.items():
        if isinstance(parameter, nn.UninitializedParameter):
            raise TraceError(f"{name} has no shape yet: call the model once before tracing it")
    if isinstance(model, torch.jit.ScriptModule):
        raise TraceError("TorchScript runs by itself, so it cannot be traced; give the module that it was made of")
    return parameters


def _run(model: nn.Module, stand_ins: dict[str, Tensor], arguments: Arguments, tape: Tape) -> Any:
    """Call the model while its operations are recorded.

    Raises:
        TraceError: the model fails, with whatever it raises as the cause.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # training writes into them
    with restored_modules(model), without_fast_path():
        try:
            with torch.no_grad(), Recorder(tape):
                return functional_call(model, stand_ins | buffers, *arguments)
        except TraceError:
            raise
        except (Exception, SystemExit) as error:  # whatever the model raises
            raise TraceError(_describe_failure(model, arguments, error)) from error


def _describe_failure(model: nn.Module, arguments: Arguments, error: BaseException) -> str:
    shapes = [tuple(leaf.shape) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
    return (
        f"{type(model).__name__} fails on inputs of shape {', '.join(map(str, shapes)) or 'none'} ({one_line(error)}); "
        "give the size it expects (input_size) or other inputs"
    )


def _plain(out: Any) -> Any:
    """Return outputs as a dictionary: those of Hugging Face models are other mappings, some are data classes."""
    if isinstance(out, Mapping):
        return dict(out)
    return vars(out) if is_dataclass(out) else out


def _check_complete(graph: ArchGraph) -> None:
    """Raise TraceError if a parameter has no node."""
    assert graph.report is not None
    unnamed = graph.report.unnamed
    if unnamed:
        examples = ", ".join(f"{name} ({reason})" for name, reason in list(unnamed.items())[:_EXAMPLES])
        raise TraceError(f"{len(unnamed)} parameters have no node: {examples}")
