"""The function `trace`: from any nn.Module to its architecture graph."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.tracing.attempts import Recording, first_graph
from deepnets.tracing.dispatch import Recorder
from deepnets.tracing.errors import TraceError
from deepnets.tracing.function_mode import FunctionRecorder
from deepnets.tracing.graph_builder import build_graph
from deepnets.tracing.inputs.arguments import Arguments, real_arguments
from deepnets.tracing.inputs.failure import shapes_of
from deepnets.tracing.inputs.guesses import possible_calls
from deepnets.tracing.restore.modules import TRACING, replaced_tensors
from deepnets.tracing.tape import Tape
from deepnets.tracing.torch_settings import autocast_on_meta, visible_flex_attention
from deepnets.tracing.values import Activation, Parametric, TensorRole
from deepnets.utils.errors import is_mistake, one_line

_EXAMPLES = 3
_OPERATIONS = ("deepnets.tracing.function_mode",)  # it calls operations as the model does; errors are the model's
_COMPUTABLE = 2**28  # parameters of models that are run on numbers unasked
_SMALL = 0.02  # standard deviation of the numbers that parameters on the meta device get


def trace(
    model: nn.Module,
    input_size: int | Sequence[int] | None = None,
    inputs: Any = None,
    strict: bool = False,
    compute: bool | None = None,
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
            (3, 224, 224).
        inputs: what to call the model with: a tensor, a tuple of arguments, or a mapping of keyword arguments. The
            first tensor is the input node 0. Without size and inputs, what the model, its configuration, its first
            layer and the signature of `forward` say is tried: images, videos, volumes, texts, sound, graphs.
        strict: raise if a parameter has no node, or a layer has no parameters.
        compute: run the model on numbers, with copies of its parameters; control flow may depend on values then, and
            the graph shows the path that these inputs take. By default only where nothing else works, for models of at
            most 268 million parameters.

    Raises:
        TraceError: a model without parameters, one that fails or needs other inputs, or whose control flow depends on
            the values of activations; with `strict`, parameters without a node.
    """
    with TRACING:
        graph = _trace(model, input_size, inputs, compute)
    if strict:
        _check_complete(graph)
    return graph


def _trace(model: nn.Module, input_size: int | Sequence[int] | None, inputs: Any, compute: bool | None) -> ArchGraph:
    """Trace on meta tensors, or on numbers if that is wanted, or if it works where meta tensors do not."""
    parameters = _checked_parameters(model)

    def on_numbers(call: Arguments) -> ArchGraph:
        graph = _record(model, parameters, real_arguments(call, inputs), compute=True)
        if not compute and not any(name in parameters for name in graph.name.tolist()):
            raise TraceError("no parameter has a node")
        return graph

    computable = compute is None and sum(parameter.numel() for parameter in parameters.values()) <= _COMPUTABLE
    recording = Recording(
        meta=lambda call: _record(model, parameters, call, compute=False),
        real=on_numbers if compute or computable else None,
        only_real=bool(compute),
    )
    return first_graph(model, possible_calls(model, input_size, inputs), recording)


def _record(model: nn.Module, parameters: dict[str, nn.Parameter], arguments: Arguments, compute: bool) -> ArchGraph:
    """Call the model, record its operations, and return the graph.

    Raises:
        TraceError: the model fails, or its output does not depend on its input.
    """
    make = _copy if compute else _meta_copy
    stand_ins = {id(parameter): make(parameter) for parameter in parameters.values()}
    tape = Tape({name: stand_ins[id(parameter)] for name, parameter in parameters.items()})
    for name, parameter in parameters.items():  # models may keep parameters elsewhere too, say in a list
        if not parameter.is_meta:
            tape.set_value(parameter, Parametric((name,)))
    if compute:
        stand_ins |= {id(buffer): _copy(buffer) for buffer in model.buffers() if buffer.device.type != "cpu"}
    for leaf in tree_leaves(arguments):
        if isinstance(leaf, Tensor):
            role = TensorRole.PLAIN if leaf.is_floating_point() or leaf.is_complex() else TensorRole.INDEX
            tape.set_value(leaf, Activation(tape.add_node("input", []).producers, role))
    out = _run(model, stand_ins, arguments, Recorder(tape, compute))
    outputs = [value for leaf in tree_leaves(plain_outputs(out)) if isinstance(value := tape.value(leaf), Activation)]
    if not outputs:
        raise TraceError(f"the output of {type(model).__name__} does not depend on its input")
    return build_graph(tape, [tape.resolve(value).producers[0] for value in outputs])


def _meta_copy(parameter: Tensor) -> Tensor:
    copy = torch.empty_like(parameter, device="meta", requires_grad=False)
    return nn.Parameter(copy, parameter.requires_grad) if type(parameter) is nn.Parameter else copy


def _copy(tensor: Tensor) -> Tensor:
    """Copy to the CPU; what has no numbers gets small random ones."""
    if not tensor.is_meta:
        copy = tensor.detach().cpu().clone()
    elif tensor.is_floating_point():
        generator = torch.Generator().manual_seed(0)
        copy = torch.randn(tensor.shape, generator=generator, device="cpu").mul_(_SMALL).to(tensor.dtype)
    else:
        copy = torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(copy, tensor.requires_grad) if type(tensor) is nn.Parameter else copy


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


def _run(model: nn.Module, stand_ins: dict[int, Tensor], arguments: Arguments, recorder: Recorder) -> Any:
    """Call the model while its operations are recorded.

    Raises:
        TraceError: the model fails, with whatever it raises as the cause.
    """
    called = model.module if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) else model
    args, kwargs = arguments
    with replaced_tensors(model, stand_ins):
        try:
            functions = FunctionRecorder(recorder.tape, recorder.compute) if _needs_functions(model, recorder) else None
            with torch.no_grad(), autocast_on_meta(), visible_flex_attention(), functions or nullcontext(), recorder:
                return called(*args, **kwargs)
        except TraceError:
            raise
        except (Exception, SystemExit) as error:  # whatever the model raises
            if is_mistake(error, through=_OPERATIONS):
                raise
            what = f"{type(model).__name__} fails on inputs of shape {shapes_of(arguments)}"
            raise TraceError(f"{what} ({one_line(error)})") from error
        finally:
            recorder.writes.undo()


def _needs_functions(model: nn.Module, recorder: Recorder) -> bool:
    """Return whether functions have to be seen too, which costs time."""
    return recorder.compute or any(isinstance(module, nn.RNNBase) for module in model.modules())


def plain_outputs(out: Any) -> Any:
    """Return outputs as a dictionary: those of Hugging Face models are other mappings, some are data classes."""
    if isinstance(out, Mapping):
        return dict(out)
    return vars(out) if is_dataclass(out) else out


def _check_complete(graph: ArchGraph) -> None:
    """Raise TraceError if a parameter has no node."""
    assert graph.report is not None
    unnamed, constant = graph.report.unnamed, graph.report.constant_weights
    if constant:
        raise TraceError(f"{len(constant)} layers have no parameters: {', '.join(constant[:_EXAMPLES])}")
    if unnamed:
        examples = ", ".join(f"{name} ({reason})" for name, reason in list(unnamed.items())[:_EXAMPLES])
        raise TraceError(f"{len(unnamed)} parameters have no node: {examples}")
