"""Rules of layers: linear layers, convolutions, embeddings, attention, norms, pooling.

Conventions (DeepNets-1M and GHN-3 papers, measured on their reference graphs): a linear layer is `conv` followed by
`bias`; a grouped convolution is `sep_conv`, with dilation `dil_conv`; a norm layer is one node; attention is one `msa`
node that reads what queries, keys and values come from; an embedding is a linear layer on one-hot vectors.
"""

from functools import partial
from typing import Any

from torch import Tensor

from deepnets.tracing.rules.registry import ATTENTION, Operation, rule
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Parametric, TensorRole, Value

ATTENDING = (TensorRole.PRODUCT, TensorRole.WEIGHTS)
"""Roles of attention scores, before and after the softmax."""

COMPUTED = "only in what is computed from parameters alone"
"""Why a parameter of learnt queries has no node."""


@rule("convolution", "_convolution", "convolution_overrideable")
def convolution(tape: Tape, operation: Operation) -> Value | None:
    """A convolution: its weight, then its bias."""
    args = operation.args
    x, weight, bias = (tape.value(a) for a in args[:3])
    dilation, transposed, groups = args[5], args[6], args[8]
    if not isinstance(x, Activation) or not isinstance(weight, Parametric):
        _note_constant_weight(tape, "a convolution", args[0], args[1])
        return None
    primitive = "conv" if groups == 1 else "dil_conv" if max(dilation) > 1 else "sep_conv"
    shape = partial(_transposed_shape, groups=groups) if transposed else tuple
    return _with_bias(tape, tape.add_parameter_node(primitive, [x], weight, shape), bias)


def _transposed_shape(shape: tuple[int, ...], groups: int) -> tuple[int, ...]:
    """Return (out, in / groups, ...) of a transposed convolution, whose weight is (in, out / groups, ...)."""
    return (shape[1] * groups, shape[0] // groups, *shape[2:]) if len(shape) > 1 else shape


def _note_constant_weight(tape: Tape, layer: str, x: Any, weight: Any) -> None:
    """Note a layer whose weight is neither a parameter nor an activation, such as one that is not registered."""
    is_constant = isinstance(weight, Tensor) and tape.value(weight) is None and weight.is_floating_point()
    if is_constant and isinstance(tape.value(x), Activation):
        shape = tuple(weight.shape)
        tape.constant_weights.append(f"{layer} with a weight of shape {shape} that is not a parameter")


def _with_bias(tape: Tape, activation: Activation, bias: Value | None) -> Activation:
    return tape.add_parameter_node("bias", [activation], bias) if isinstance(bias, Parametric) else activation


@rule("addmm", "baddbmm", "addbmm")
def linear(tape: Tape, operation: Operation) -> Value | None:
    """A matrix product plus something: a linear layer, or a sum."""
    product, added = _matmul(tape, *operation.args[1:3]), tape.value(operation.args[0])
    if product is None:
        _note_constant_weight(tape, "a linear layer", operation.args[1], operation.args[2])
        return None
    if isinstance(added, Activation):
        return join(tape, "sum", added, product)
    return _with_bias(tape, product, added)


@rule("_grouped_mm", "_scaled_grouped_mm")
def grouped_matmul(tape: Tape, operation: Operation) -> Value | None:
    """A matrix product with another weight for each group of rows: a mixture of experts."""
    return _matmul(tape, *operation.args[:2])


@rule("mm", "bmm", "mv", "dot")
def matmul(tape: Tape, operation: Operation) -> Value | None:
    """A matrix product: a linear layer without bias, or a step of attention."""
    return _matmul(tape, *operation.args[:2])


def _matmul(tape: Tape, first: Any, second: Any) -> Activation | None:
    a, b = tape.value(first), tape.value(second)
    for x, weight in ((a, b), (b, a)):
        if isinstance(x, Activation) and isinstance(weight, Parametric):
            return _product_with_parameters(tape, x, weight, batched=first.dim() == 3)
    if not isinstance(a, Activation) or not isinstance(b, Activation):
        return None
    producers = tuple(dict.fromkeys(a.producers + b.producers))
    if a.role in ATTENDING or b.role in ATTENDING:  # the third factor of attention
        return tape.add_attention(producers)
    return Activation(producers, TensorRole.PRODUCT)


def _product_with_parameters(tape: Tape, x: Activation, weight: Parametric, batched: bool) -> Activation:
    """A linear layer, or attention with learnt queries: their products are batched, those of linear layers are not."""
    if not weight.computed or not batched:
        return tape.add_parameter_node("conv", [x], weight)
    tape.leave_out(weight, COMPUTED)
    if x.role in ATTENDING:
        return tape.add_attention(x.producers)
    return Activation(x.producers, TensorRole.PRODUCT, x.scale)


@rule(*ATTENTION)
def fused_attention(tape: Tape, operation: Operation) -> Value | None:
    """Attention that one operation computes; masks are not read."""
    values = [tape.value(a) for a in operation.args[:3]]
    for value in values:
        if isinstance(value, Parametric):
            tape.leave_out(value, COMPUTED)
    producers = [p for value in values if isinstance(value, Activation) for p in value.producers]
    return tape.add_attention(tuple(dict.fromkeys(producers)))


@rule("_trilinear")
def bilinear(tape: Tape, operation: Operation) -> Value | None:
    """A bilinear layer: one weight (out, in, in) that reads both inputs; its bias is a sum that follows."""
    first, weight, second = (tape.value(a) for a in operation.args[:3])
    reads = [value for value in (first, second) if isinstance(value, Activation)]
    return tape.add_parameter_node("conv", reads, weight) if reads and isinstance(weight, Parametric) else None


@rule("_prelu_kernel", "prelu")
def prelu(tape: Tape, operation: Operation) -> Value | None:
    """A rectifier with learnt slopes: they are no layer, as nonlinearities are none."""
    x, slopes = (tape.value(a) for a in operation.args[:2])
    if not isinstance(x, Activation) or not isinstance(slopes, Parametric):
        return None
    tape.left_out[operation.name] += 1
    tape.leave_out(slopes, "the slopes of a nonlinearity")
    return Activation(x.producers)


@rule("embedding", "_embedding_bag", "_embedding_bag_forward_only")
def embedding(tape: Tape, operation: Operation) -> Value | None:
    """An embedding: a linear layer on one-hot vectors."""
    return _lookup(tape, *operation.args[:2])


@rule("index")
def index(tape: Tape, operation: Operation) -> Value | None:
    """A table that is indexed: an embedding."""
    indices = [tensor for tensor in operation.args[1] if isinstance(tensor, Tensor)]
    return _lookup(tape, operation.args[0], indices[0]) if len(indices) == 1 else None


@rule("index_select")
def index_select(tape: Tape, operation: Operation) -> Value | None:
    """A table whose rows are selected: an embedding."""
    return _lookup(tape, operation.args[0], operation.args[2])


@rule("embedding_renorm")
def renormalize_embedding(tape: Tape, operation: Operation) -> Value | None:
    """An embedding whose rows are shortened first: still its weight."""
    return tape.value(operation.args[0])


def _lookup(tape: Tape, table: Any, index: Any) -> Value | None:
    weight, position = tape.value(table), tape.value(index)
    if not isinstance(weight, Parametric) or not isinstance(position, Activation) or table.dim() != 2:
        return None
    tape.tables.append(tape.main_parameter(weight))
    return tape.add_parameter_node("conv", [position], weight)


@rule("torchvision::deform_conv2d")
def deformable_convolution(tape: Tape, operation: Operation) -> Value | None:
    """A deformable convolution of torchvision, which also reads its offsets and its mask."""
    x, weight, offset, mask, bias = (tape.value(a) for a in operation.args[:5])
    if not isinstance(x, Activation) or not isinstance(weight, Parametric):
        return None
    groups = operation.args[-3] if len(operation.args) >= 3 else 1
    reads = [x, *(a for a in (offset, mask) if isinstance(a, Activation))]
    return _with_bias(tape, tape.add_parameter_node("conv" if groups == 1 else "sep_conv", reads, weight), bias)


@rule("native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "cudnn_batch_norm")
def batch_norm(tape: Tape, operation: Operation) -> Value | None:
    """Batch norm."""
    x, weight, bias = operation.args[:3]
    return _norm(tape, "bn", x, weight, bias)


@rule("native_layer_norm")
def layer_norm(tape: Tape, operation: Operation) -> Value | None:
    """Layer norm."""
    x, _, weight, bias = operation.args[:4]
    return _norm(tape, "ln", x, weight, bias)


@rule("native_group_norm")
def group_norm(tape: Tape, operation: Operation) -> Value | None:
    """Group norm, drawn as layer norm."""
    x, weight, bias = operation.args[:3]
    return _norm(tape, "ln", x, weight, bias)


@rule("_fused_rms_norm", "rms_norm")
def rms_norm(tape: Tape, operation: Operation) -> Value | None:
    """RMS norm, drawn as layer norm."""
    x, _, weight = operation.args[:3]
    return _norm(tape, "ln", x, weight, None)


def _norm(tape: Tape, primitive: str, x: Any, weight: Any, bias: Any) -> Value | None:
    activation, scale, shift = (tape.value(a) for a in (x, weight, bias))
    if not isinstance(activation, Activation):
        return None
    if not isinstance(scale, Parametric):
        return Activation(activation.producers, TensorRole.NORMALIZED) if weight is None else None
    normalized = tape.add_parameter_node(primitive, [activation], scale)
    if isinstance(shift, Parametric):
        tape.absorb(shift.names, tape.nodes[-1].name)
    return normalized


@rule("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool3d", "max_pool2d")
def max_pool(tape: Tape, operation: Operation) -> Value | None:
    """Max pooling."""
    return _pool(tape, "max_pool", operation)


@rule("avg_pool2d", "avg_pool3d", "avg_pool1d")
def avg_pool(tape: Tape, operation: Operation) -> Value | None:
    """Average pooling."""
    return _pool(tape, "avg_pool", operation)


def _pool(tape: Tape, primitive: str, operation: Operation) -> Value | None:
    """Pooling has no parameter, but a shape: that of its window.

    What averages over channels, as local response norm does, is a statistic.
    """
    x = tape.value(operation.args[0])
    if not isinstance(x, Activation):
        return None
    window = tuple(operation.args[1])
    over_channels = len(window) > 1 and set(window[1:]) == {1} and operation.args[0].shape[-len(window) - 1] == 1
    if primitive == "avg_pool" and over_channels:
        return Activation(x.producers, TensorRole.STATISTIC)
    return tape.add_node(primitive, [x], shape=(1, 1, *window[-2:][:1], window[-1]))


@rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d")
def adaptive_avg_pool(tape: Tape, operation: Operation) -> Value | None:
    """Adaptive average pooling, drawn as global average pooling."""
    x = tape.value(operation.args[0])
    return tape.add_node("glob_avg", [x]) if isinstance(x, Activation) else None


def join(tape: Tape, primitive: str, a: Activation, b: Activation) -> Activation:
    """Join two activations in a node, unless they are parts of one attention or normalization.

    Attention scores plus activations, such as products of queries and relative positions, are read by the attention;
    masks, which are inputs of the model, are not.
    """
    if TensorRole.PRODUCT in (a.role, b.role) or (primitive == "cse" and TensorRole.WEIGHTS in (a.role, b.role)):
        producers = [p for p in a.producers + b.producers if tape.nodes[p].primitive != "input"]
        return Activation(tuple(dict.fromkeys(producers)) or a.producers, TensorRole.PRODUCT)
    if a.producers == b.producers and (primitive != "sum" or TensorRole.PLAIN not in (a.role, b.role)):
        return a
    return tape.add_node(primitive, [a, b])
