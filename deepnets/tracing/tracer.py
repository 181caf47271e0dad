"""Any nn.Module -> ArchGraph."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.graphs.trace_report import TraceReport
from deepnets.tracing.dispatch import Recorder, TraceError
from deepnets.tracing.prune import prune
from deepnets.tracing.values import Activation, TracedNode
from deepnets.utils.errors import one_line

BATCH = 2  # batch norm needs more than one value for each channel while training


def trace(
    model: nn.Module,
    input_size: int | Sequence[int] | None = None,
    inputs: Any = None,
    strict: bool = False,
) -> ArchGraph:
    """The computational graph of any network, without running it on numbers.

    The model is called once, in the mode it is in (training or evaluation), on meta tensors; it is not changed. Nodes
    stand in the order of execution, the last ones belong to the output. `graph.report` says what was left out.

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
    parameters = dict(model.named_parameters())
    if not parameters:
        raise TraceError(f"{type(model).__name__} has no parameters, so there is nothing to trace")
    for name, parameter in parameters.items():
        if isinstance(parameter, nn.UninitializedParameter):
            raise TraceError(f"{name} has no shape yet: call the model once before tracing it")
    if isinstance(model, torch.jit.ScriptModule):
        raise TraceError("TorchScript runs by itself, so it cannot be traced; give the module that it was made of")
    args, kwargs = _arguments(model, input_size, inputs)
    stand_ins = {name: torch.empty_like(parameter, device="meta") for name, parameter in parameters.items()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # training writes into them
    before = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    recorder = Recorder(stand_ins)
    for leaf in tree_leaves((args, kwargs)):
        if isinstance(leaf, Tensor) and leaf.is_meta:
            recorder.set(leaf, recorder.node("input", []))
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), recorder:
            out = functional_call(model, stand_ins | buffers, args, kwargs)
    except TraceError:
        raise
    except (Exception, SystemExit) as error:  # whatever the model raises
        raise TraceError(_explain(model, args, kwargs, error)) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, attributes, own in before:  # modules may keep what they have computed
            vars(module).clear()
            vars(module).update(attributes)
            module._buffers.clear()
            module._buffers.update(own)
    outputs = [value for leaf in tree_leaves(_plain(out)) if isinstance(value := recorder.value(leaf), Activation)]
    if not outputs:
        raise TraceError(f"the output of {type(model).__name__} does not depend on its input")
    return _graph(recorder, [recorder.resolved(value).producers[0] for value in outputs], strict)


def _explain(model: nn.Module, args: Any, kwargs: Any, error: BaseException) -> str:
    given = [tuple(leaf.shape) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    reason = one_line(error)
    return (
        f"{type(model).__name__} fails on inputs of shape {', '.join(map(str, given)) or 'none'} ({reason}); "
        "give the size it expects (input_size) or other inputs"
    )


def _plain(out: Any) -> Any:
    """Outputs of Hugging Face models are mappings that are no dictionaries, those of others data classes."""
    if isinstance(out, Mapping):
        return dict(out)
    return vars(out) if is_dataclass(out) else out


def _arguments(model: nn.Module, input_size: int | Sequence[int] | None, inputs: Any) -> tuple[tuple, dict]:
    """Positional and keyword arguments, activations on meta.

    Integers behind the first tensor, such as attention masks and token types, stay what they are: models look at them.
    """
    if inputs is not None:
        inputs = dict(inputs) if isinstance(inputs, Mapping) else inputs
        first = next((leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)), None)
        inputs = tree_map_only(
            Tensor, lambda t: t.to("meta") if t is first or t.is_floating_point() else t.clone(), inputs
        )
        if isinstance(inputs, dict):
            return (), inputs
        return inputs if isinstance(inputs, tuple) else (inputs,), {}
    dummy = getattr(model, "dummy_inputs", None)
    if input_size is None and isinstance(dummy, Mapping) and getattr(model, "main_input_name", None) in dummy:
        return _arguments(model, None, {k: v for k, v in dummy.items() if isinstance(v, Tensor)})
    size = _input_size(model) if input_size is None else input_size
    shape = (_input_channels(model), size, size) if isinstance(size, int) else tuple(size)
    if any(n < 1 for n in shape):
        raise TraceError(f"input_size is {input_size}; sizes must be 1 or more")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    try:
        return (torch.empty(BATCH, *shape, dtype=dtype, device="meta"),), {}
    except RuntimeError:
        raise TraceError(f"input_size is {input_size}, larger than any tensor can be") from None


def _input_size(model: nn.Module) -> int | Sequence[int]:
    """What the model says of the size of its input: DeepNets networks, torchvision, timm, Hugging Face."""
    for owner, attribute in (
        *((model, name) for name in ("image_size", "expected_input_sz", "img_size")),
        *((getattr(model, "config", None), name) for name in ("image_size",)),
    ):
        size = getattr(owner, attribute, None)
        if isinstance(size, int):
            return size
    timm = getattr(model, "default_cfg", None)
    if isinstance(timm, Mapping) and "input_size" in timm:
        return tuple(timm["input_size"])
    return 299 if type(model).__name__ == "Inception3" else 224


def _input_channels(model: nn.Module) -> int:
    """Channels that the first convolution reads, 3 if there is none."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return 3


def _graph(recorder: Recorder, outputs: Sequence[int], strict: bool) -> ArchGraph:
    nodes, lost = prune(recorder.nodes, outputs)
    named = {node.name for node in nodes}
    report = _report(recorder, named, lost)
    if strict and not report.complete:
        first = ", ".join(f"{name} ({why})" for name, why in list(report.unnamed.items())[:3])
        raise TraceError(f"{len(report.unnamed)} parameters have no node: {first}")
    edges = sorted({(target, source) for target, node in enumerate(nodes) for source in node.reads})
    return ArchGraph(
        op=np.array([PRIMITIVE_INDEX[node.primitive] for node in nodes], np.uint8),
        cell=np.zeros(len(nodes), np.uint8),
        name=np.array([node.name for node in nodes]),
        shape=np.array([_shape(node) for node in nodes], np.int32),
        edge_index=np.array(edges, np.int32).reshape(-1, 2).T[::-1],
        report=report,
    )


def _shape(node: TracedNode) -> tuple[int, ...]:
    """(out, in, height, width); a table of T positional encodings counts as a square map of floor(sqrt T)."""
    shape = node.shape
    if not shape:
        return (0, 0, 0, 0)
    if node.primitive == "pos_enc" and len(shape) in (2, 3):
        side = int(shape[-2] ** 0.5)
        return (1, shape[-1], side, side)
    return (*shape[:2], *shape[2:][-2:], 1, 1, 1)[:4]


def _report(recorder: Recorder, named: set[str], lost: set[str]) -> TraceReport:
    unnamed = {}
    for name in recorder.shapes:
        why = recorder.used.get(name, "not used when the model is called")
        owner = recorder.absorbed.get(name, name)
        if owner in lost and not {name, owner} & named:
            why = "does not reach the output"
        if why:
            unnamed[name] = why
    absorbed = {name: owner for name, owner in recorder.absorbed.items() if name not in named and owner in named}
    return TraceReport(unnamed, absorbed, dict(recorder.left_out), tuple(dict.fromkeys(recorder.notes)))
