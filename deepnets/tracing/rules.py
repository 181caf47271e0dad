"""What every operation becomes: rules by ATen operation, and what holds for all others.

Conventions (DeepNets-1M and GHN-3 papers, measured on their reference graphs): linear layers are `conv` followed by
`bias`; grouped convolutions are `sep_conv`, with dilation `dil_conv`; norm layers are one node; attention is one `msa`
node that reads what queries, keys and values come from; a product of activations elsewhere is `cse`, squeeze and
excite; a table added to activations is `pos_enc` and a `sum`. Class tokens, layer scale and tables added to attention
scores become no node.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from deepnets.tracing.dispatch import Recorder
from deepnets.tracing.values import Activation, Kind, Parametric, Value

Rule = Callable[[Recorder, str, Sequence[Any]], Value | None]
R = TypeVar("R", bound=Rule)
_RULES: dict[str, Rule] = {}
_ATTENDING = (Kind.PRODUCT, Kind.WEIGHTS)
_COMPUTED = "only in what is computed from parameters alone"
_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
_PRODUCTS = ("mm", "bmm", "mv", "addmm", "baddbmm", "addbmm", "convolution", *_ATTENTION)
"""What layers do; weights are made of parameters by simpler operations, or by products of two of them."""


def _rule(*names: str) -> Callable[[R], R]:
    def register(rule: R) -> R:
        for name in names:
            assert name not in _RULES, name
            _RULES[name] = rule
        return rule

    return register


def combine(
    recorder: Recorder,
    name: str,
    func: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    values: Sequence[Value],
) -> Value:
    """The value of an operation's result; adds the nodes that the operation becomes."""
    activations = [value for value in values if isinstance(value, Activation)]
    parametric = _union(recorder, values)
    if not activations:
        assert parametric is not None
        several = sum(isinstance(value, Parametric) for value in values) > 1
        return replace(parametric, computed=True) if several and name in _PRODUCTS else parametric
    rule = _RULES.get(name.removesuffix("_"))
    if rule is not None:
        arguments = [*args, *(kwargs.get(a.name) for a in func._schema.arguments[len(args) :])]
        value = rule(recorder, name, arguments)
        if value is not None:
            return value
    return _anything_else(recorder, name, activations, parametric)


def _union(recorder: Recorder, values: Sequence[Value]) -> Parametric | None:
    """It is computed if its largest part is: learnt queries with a bias are, a weight with a low-rank update is not."""
    parts = [value for value in values if isinstance(value, Parametric)]
    if not parts:
        return None
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    largest = max(parts, key=lambda part: (max(map(recorder.size, part.names)), not part.computed))
    return Parametric(names, largest.computed)


def _anything_else(
    recorder: Recorder, name: str, activations: Sequence[Activation], parametric: Parametric | None
) -> Value:
    """Operations on one activation pass it on; several activations are joined as in a sum."""
    if parametric is not None:
        recorder.leave_out(parametric, f"only used by the operation {name}")
    if len({a.producers for a in activations}) == 1:
        recorder.left_out[name] += 1
        return activations[0]
    recorder.notes.append(f"the operation {name} on several activations is drawn as sum")
    return recorder.node("sum", activations)


@_rule("convolution", "_convolution", "convolution_overrideable")
def _convolution(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    x, weight, bias = (recorder.value(a) for a in args[:3])
    dilation, groups = args[5], args[8]
    if not isinstance(x, Activation) or not isinstance(weight, Parametric):
        return None
    primitive = "conv" if groups == 1 else "dil_conv" if max(dilation) > 1 else "sep_conv"
    return _with_bias(recorder, recorder.parameter_node(primitive, [x], weight), bias)


def _with_bias(recorder: Recorder, activation: Activation, bias: Value | None) -> Activation:
    return recorder.parameter_node("bias", [activation], bias) if isinstance(bias, Parametric) else activation


@_rule("addmm", "baddbmm", "addbmm")
def _addmm(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    product, added = _matmul(recorder, name, args[1:]), recorder.value(args[0])
    if product is not None and isinstance(added, Activation):
        return _join(recorder, "sum", added, product)
    return None if product is None else _with_bias(recorder, product, added)


@_rule("mm", "bmm", "mv", "dot")
def _matmul(recorder: Recorder, name: str, args: Sequence[Any]) -> Activation | None:
    a, b = recorder.value(args[0]), recorder.value(args[1])
    for x, weight in ((a, b), (b, a)):
        if isinstance(x, Activation) and isinstance(weight, Parametric):
            if weight.computed and args[0].dim() == 3:  # scores of learnt queries; weights of linear layers have 2
                recorder.leave_out(weight, _COMPUTED)
                return recorder.attention(x.producers) if x.kind in _ATTENDING else replace(x, kind=Kind.PRODUCT)
            return recorder.parameter_node("conv", [x], weight)
    if not isinstance(a, Activation) or not isinstance(b, Activation):
        return None
    producers = tuple(dict.fromkeys(a.producers + b.producers))
    if a.kind in _ATTENDING or b.kind in _ATTENDING:  # the third factor of attention
        return recorder.attention(producers)
    return Activation(producers, Kind.PRODUCT)


@_rule(*_ATTENTION)
def _fused_attention(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    values = [recorder.value(a) for a in args[:3]]
    for value in values:
        if isinstance(value, Parametric):
            recorder.leave_out(value, _COMPUTED)
    read = [p for value in values if isinstance(value, Activation) for p in value.producers]
    return recorder.attention(tuple(dict.fromkeys(read)))


@_rule("embedding")
def _embedding(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    weight, index = recorder.value(args[0]), recorder.value(args[1])
    if not isinstance(weight, Parametric) or not isinstance(index, Activation):
        return None
    return recorder.parameter_node("conv", [index], weight)  # a linear layer on one-hot vectors


@_rule("native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "cudnn_batch_norm")
def _batch_norm(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    return _norm(recorder, "bn", args[0], args[1], args[2])


@_rule("native_layer_norm")
def _layer_norm(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    return _norm(recorder, "ln", args[0], args[2], args[3])


@_rule("native_group_norm")
def _group_norm(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    return _norm(recorder, "ln", args[0], args[1], args[2])


@_rule("_fused_rms_norm", "rms_norm")
def _rms_norm(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    return _norm(recorder, "ln", args[0], args[2], None)


def _norm(recorder: Recorder, primitive: str, x: Any, weight: Any, bias: Any) -> Value | None:
    activation, scale, shift = (recorder.value(a) for a in (x, weight, bias))
    if not isinstance(activation, Activation):
        return None
    if not isinstance(scale, Parametric):
        return Activation(activation.producers, Kind.NORMALIZED) if scale is None else None
    normalized = recorder.parameter_node(primitive, [activation], scale)
    if isinstance(shift, Parametric):
        recorder.absorb(shift.names, recorder.nodes[-1].name)
    return normalized


@_rule("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "max_pool2d")
def _max_pool(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    return _pool(recorder, "max_pool", args)


@_rule("avg_pool2d", "avg_pool3d", "avg_pool1d")
def _avg_pool(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    return _pool(recorder, "avg_pool", args)


def _pool(recorder: Recorder, primitive: str, args: Sequence[Any]) -> Value | None:
    """Pooling has a shape without being a parameter: that of its window."""
    x = recorder.value(args[0])
    window = tuple(args[1])[-2:]
    shape = (1, 1, window[0], window[-1])
    return recorder.node(primitive, [x], shape=shape) if isinstance(x, Activation) else None


@_rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d")
def _adaptive_avg_pool(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    x = recorder.value(args[0])
    return recorder.node("glob_avg", [x]) if isinstance(x, Activation) else None


@_rule("mean")
def _mean(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    """Over positions it is global average pooling; over channels a statistic of normalization."""
    x = recorder.value(args[0])
    if not isinstance(x, Activation) or x.kind is not Kind.PLAIN or len(args) < 3 or args[1] is None:
        return None
    ndim, keepdim = args[0].dim(), bool(args[2])
    reduced = {d % ndim for d in args[1]}
    positions = len(reduced) == ndim - 2 and 0 not in reduced
    over_channels = reduced == {ndim - 1} and keepdim
    return recorder.node("glob_avg", [x]) if positions and not over_channels else None


@_rule("rsqrt", "sqrt", "std", "linalg_vector_norm", "norm")
def _statistic(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    x = recorder.value(args[0])
    recorder.left_out[name] += 1
    return Activation(x.producers, Kind.STATISTIC) if isinstance(x, Activation) else None


@_rule("_softmax", "_safe_softmax")
def _softmax(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    """What a softmax is multiplied with is attended to, also if something stood between scores and softmax."""
    x = recorder.value(args[0])
    recorder.left_out[name] += 1
    if not isinstance(x, Activation):
        return None
    return x if x.kind is Kind.PRODUCT else Activation(x.producers, Kind.WEIGHTS)


@_rule("cat", "stack")
def _concat(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    values = [recorder.value(t) for t in args[0]]
    for value in values:
        if isinstance(value, Parametric):
            recorder.leave_out(value, "a token concatenated with activations")
    return recorder.node("concat", [value for value in values if isinstance(value, Activation)])


@_rule("add", "sub", "rsub")
def _add(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    a, b = recorder.value(args[0]), recorder.value(args[1])
    if isinstance(a, Activation) and isinstance(b, Activation):
        if name.startswith(("sub", "rsub")) and a.producers == b.producers and a.kind is b.kind is Kind.PLAIN:
            return Activation(a.producers, Kind.CENTRED)
        return _join(recorder, "sum", a, b)
    for x, other, tensor in ((a, b, args[1]), (b, a, args[0])):
        if isinstance(x, Activation) and isinstance(other, Parametric):
            return _add_parameter(recorder, x, other, tensor.shape)
    return None


@_rule("addcmul", "addcdiv")
def _addcmul(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    a, factors = recorder.value(args[0]), [recorder.value(t) for t in args[1:3]]
    b = _multiply(recorder, name, args[1:3])
    if b is None:  # constants, parameters, or an activation times a constant
        b = next((f for f in factors if isinstance(f, Activation)), None) or _union(recorder, [f for f in factors if f])
    if isinstance(a, Activation) and isinstance(b, Activation):
        return _join(recorder, "sum", a, b)
    shape = torch.broadcast_shapes(args[1].shape, args[2].shape)
    for x, other, size in ((a, b, shape), (b, a, args[0].shape)):
        if isinstance(x, Activation):
            return _add_parameter(recorder, x, other, size) if isinstance(other, Parametric) else x
    return None


def _join(recorder: Recorder, primitive: str, a: Activation, b: Activation) -> Activation:
    """A node for two activations, but none for what is part of an attention or of a normalization.

    Attention scores plus activations, such as products of queries and relative positions, are read by the attention;
    masks, which are inputs of the model, are not.
    """
    if Kind.PRODUCT in (a.kind, b.kind) or (primitive == "cse" and Kind.WEIGHTS in (a.kind, b.kind)):
        known = [p for p in a.producers + b.producers if recorder.nodes[p].primitive != "input"]
        return Activation(tuple(dict.fromkeys(known)) or a.producers, Kind.PRODUCT)
    if a.producers == b.producers and (primitive != "sum" or Kind.PLAIN not in (a.kind, b.kind)):
        return a
    return recorder.node(primitive, [a, b])


def _add_parameter(recorder: Recorder, x: Activation, added: Parametric, shape: Sequence[int]) -> Activation:
    if x.kind is Kind.PRODUCT:
        recorder.leave_out(added, "added to attention scores")
        return x
    if x.kind is Kind.SCALED:  # the bias of a norm layer written by hand
        recorder.absorb(added.names, recorder.nodes[x.producers[0]].name)
        return Activation(x.producers)
    if added.computed:
        recorder.leave_out(added, _COMPUTED)
        return x
    if sum(size > 1 for size in shape) <= 1:
        return recorder.parameter_node("bias", [x], added)
    return recorder.node("sum", [x, recorder.parameter_node("pos_enc", [], added)])


@_rule("mul", "div")
def _multiply(recorder: Recorder, name: str, args: Sequence[Any]) -> Value | None:
    a, b = recorder.value(args[0]), recorder.value(args[1])
    if isinstance(a, Activation) and isinstance(b, Activation):
        if a.producers == b.producers and Kind.STATISTIC in (a.kind, b.kind):
            scale = a.scale or b.scale
            normalized = Activation(a.producers, Kind.NORMALIZED)
            return normalized if scale is None else _scaled(recorder, normalized, scale)
        return _join(recorder, "cse", a, b)
    for x, other in ((a, b), (b, a)):
        if isinstance(x, Activation) and isinstance(other, Parametric):
            if x.kind is Kind.NORMALIZED:
                return _scaled(recorder, x, other)
            if x.kind is Kind.CENTRED:
                x = replace(x, scale=other)
            recorder.leave_out(other, "a scale on activations")
            return x
    return None


def _scaled(recorder: Recorder, normalized: Activation, scale: Parametric) -> Activation:
    """The node of a norm layer written by hand."""
    return Activation(recorder.parameter_node("ln", [normalized], scale).producers, Kind.SCALED)
