"""The building blocks of a network as small graphs: stems, preprocessing, operations, aggregation, heads.

A block is a short list of nodes. A node has a primitive, a parameter name, a shape, and the nodes of the same block
that it reads; -1 stands for the block's input. The dimensions of a shape are symbols (widths of the cell, classes,
kernel sizes), whose values `deepnets.symbolic.shapes` computes. The last node is the block's output. Rules for nodes
(DeepNets-1M paper, sections 3 and A.1): nonlinearities, identities and reshapes are not nodes; a norm layer is one
node; the bias of a linear layer is a node after its weight.

`{cell}` and `{op}` in a name stand for the number of the cell and for the number of the edge in the cell.
"""

from dataclasses import dataclass

Dims = tuple[str, str, str, str]

NO_SHAPE: Dims = ("0", "0", "0", "0")


@dataclass(frozen=True)
class BlockNode:
    """One node of a block; `reads` are positions in the block, or -1 for the block's input."""

    primitive: str
    name: str
    shape: Dims
    reads: tuple[int, ...]


Block = tuple[BlockNode, ...]

_EDGE = "cells.{cell}._ops.{op}"


def _vector(width: str) -> Dims:
    return (width, "1", "1", "1")


def _pool(primitive: str) -> Block:
    return (BlockNode(primitive, primitive, ("1", "1", "3", "3"), (-1,)),)


def _chain(*nodes: tuple[str, str, Dims]) -> Block:
    """Return a block in which every node reads the one before."""
    return tuple(BlockNode(*node, reads=(position - 1,)) for position, node in enumerate(nodes))


def _norm(bn: bool, name: str, width: str) -> tuple[tuple[str, str, Dims], ...]:
    return (("bn", name, _vector(width)),) if bn else ()


def _linear(name: str, out: str, width: str) -> tuple[tuple[str, str, Dims], ...]:
    """Return the nodes of a linear layer: its weight, which counts as a 1x1 convolution, then its bias."""
    return ("conv", f"{name}.weight", (out, width, "1", "1")), ("bias", f"{name}.bias", _vector(out))


def _conv(k: str, bn: bool) -> Block:
    return _chain(
        ("conv", f"{_EDGE}.op.1.weight", ("cell", "src", k, k)),
        *_norm(bn, f"{_EDGE}.op.2.weight", "cell"),
    )


def _conv_7x1_1x7(bn: bool) -> Block:
    return _chain(
        ("conv", f"{_EDGE}.op.1.weight", ("cell", "src", "1", "7")),
        ("conv", f"{_EDGE}.op.2.weight", ("cell", "cell", "7", "1")),
        *_norm(bn, f"{_EDGE}.op.3.weight", "cell"),
    )


def _sep_conv(k: str, bn: bool) -> Block:
    return _chain(
        ("sep_conv", f"{_EDGE}.op.1.weight", ("src", "1", k, k)),
        ("conv", f"{_EDGE}.op.2.weight", ("src", "src", "1", "1")),
        *_norm(bn, f"{_EDGE}.op.3.weight", "src"),
        ("sep_conv", f"{_EDGE}.op.5.weight", ("src", "1", k, k)),
        ("conv", f"{_EDGE}.op.6.weight", ("cell", "src", "1", "1")),
        *_norm(bn, f"{_EDGE}.op.7.weight", "cell"),
    )


def _dil_conv(k: str, bn: bool) -> Block:
    return _chain(
        ("dil_conv", f"{_EDGE}.op.1.weight", ("src", "1", k, k)),
        ("conv", f"{_EDGE}.op.2.weight", ("cell", "src", "1", "1")),
        *_norm(bn, f"{_EDGE}.op.3.weight", "cell"),
    )


def _factorized_reduce(prefix: str, width: str, bn: bool) -> Block:
    shape = ("cell/2", width, "1", "1")
    halves = tuple(BlockNode("conv", f"{prefix}.conv_{half}.weight", shape, (-1,)) for half in (1, 2))
    concat = BlockNode("concat", "concat", NO_SHAPE, (0, 1))
    norm = (BlockNode("bn", f"{prefix}.bn.weight", _vector("cell"), (2,)),) if bn else ()
    return (*halves, concat, *norm)


def _cse() -> Block:
    """Return squeeze-and-excitation over channels; its averaging is not a node."""
    layers = _chain(*_linear(f"{_EDGE}.fc1", "src/2", "src"), *_linear(f"{_EDGE}.fc2", "src", "src/2"))
    return (*layers, BlockNode("cse", "cse", NO_SHAPE, (3, -1)))


def _msa() -> Block:
    """Return a pre-norm transformer block: attention with a residual connection, then an MLP with another."""
    out_weight, out_bias = _linear(f"{_EDGE}.to_out.0", "src", "src")
    attention = _chain(
        ("ln", f"{_EDGE}.ln1.weight", _vector("src")),
        ("conv", f"{_EDGE}.to_qkv.weight", ("3src", "src", "1", "1")),
        ("msa", "msa", NO_SHAPE),
        out_weight,
        out_bias,
    )
    residual = BlockNode("sum", "sum", NO_SHAPE, (4, -1))
    names = [
        ("ln", f"{_EDGE}.ln2.weight", _vector("src")),
        *_linear(f"{_EDGE}.ff.net.0", "src", "src"),
        *_linear(f"{_EDGE}.ff.net.3", "src", "src"),
    ]
    mlp = tuple(BlockNode(*node, reads=(position + 5,)) for position, node in enumerate(names))
    return (*attention, residual, *mlp, BlockNode("sum", "sum", NO_SHAPE, (10, 5)))


def operation(op: str, strided: bool, bn: bool) -> Block:
    """Return the block of an operation of the genotype; identities and `none` have no nodes."""
    match op:
        case "none":
            return ()
        case "skip_connect":
            return _factorized_reduce(_EDGE, "src", bn) if strided else ()
        case "max_pool_3x3" | "avg_pool_3x3":
            return _pool(op.removesuffix("_3x3"))
        case "conv_7x1_1x7":
            return _conv_7x1_1x7(bn)
        case "msa":
            return _msa()
        case "cse":
            return _cse()
    layer, kernel = op.rsplit("_", 1)
    k = kernel[0]
    if layer == "conv":
        return _conv(k, bn)
    return _sep_conv(k, bn) if layer == "sep_conv" else _dil_conv(k, bn)


def preprocess(position: int, reducing: bool, bn: bool) -> Block:
    """Return the layers at input 0 or 1 of a cell: a factorized reduction if the input is twice as large."""
    prefix, width = f"cells.{{cell}}.preprocess{position}", f"in{position}"
    if reducing:
        return _factorized_reduce(prefix, width, bn)
    return _chain(
        ("conv", f"{prefix}.op.1.weight", ("cell", width, "1", "1")), *_norm(bn, f"{prefix}.op.2.weight", "cell")
    )


def simple_stem(pool: bool, bn: bool) -> Block:
    """Return the CIFAR-style stem: one convolution, optionally followed by max pooling."""
    nodes = (("conv", "stem.0.weight", ("stem", "3", "ks", "ks")), *_norm(bn, "stem.1.weight", "stem"))
    return _chain(*nodes, ("max_pool", "max_pool", ("1", "1", "3", "3"))) if pool else _chain(*nodes)


def imagenet_stem(part: int, bn: bool) -> Block:
    """Return the ImageNet-style stem: part 0 feeds input 0 of the first cell; part 1 follows it and feeds input 1."""
    if part == 0:
        return _chain(
            ("conv", "stem0.0.weight", ("C/2", "3", "ks", "ks")),
            *_norm(bn, "stem0.1.weight", "C/2"),
            ("conv", "stem0.3.weight", ("C", "C/2", "3", "3")),
            *_norm(bn, "stem0.4.weight", "C"),
        )
    return _chain(("conv", "stem1.1.weight", ("C", "C", "3", "3")), *_norm(bn, "stem1.2.weight", "C"))


def vit_stem() -> Block:
    """Return the stem of a Vision Transformer: patch embedding plus a learned positional encoding."""
    return (
        BlockNode("conv", "stem0.weight", ("C", "3", "patch", "patch"), (-1,)),
        BlockNode("pos_enc", "pos_enc.weight", ("1", "C", "tokens", "tokens"), ()),
        BlockNode("sum", "sum", NO_SHAPE, (0, 1)),
    )


def head(glob_avg: bool, fc_layers: int) -> Block:
    """Return the classifier: optional global average pooling, then one or two linear layers, the first `fc` wide."""
    pool = (("glob_avg", "glob_avg", NO_SHAPE),) if glob_avg else ()
    last = _linear("classifier.3", "num_classes", "fc") if fc_layers == 2 else ()
    return _chain(*pool, *_linear("classifier.0", "fc", "features"), *last)


def aggregate(primitive: str) -> Block:
    """Return a single node (input, sum or concat), whose incoming edges depend on the cell."""
    return (BlockNode(primitive, primitive, NO_SHAPE, ()),)
