"""Which parameters flow into which others, by autograd: independent of how graphs are traced."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from deepnets import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX

INPUT = 1
"""The bit of the inputs in a set of parameters, which is an integer with a bit for each of them."""


@dataclass
class Paths:
    """Paths from parameters to parameters.

    Args:
        upstream: for each parameter those that its layer's input depends on.
        together: for each parameter those that the same operation reads.
    """

    upstream: dict[str, set[str]] = field(default_factory=dict)
    together: dict[str, set[str]] = field(default_factory=dict)


def autograd_paths(model: nn.Module, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Paths:
    """Return the paths of a model by the graph that autograd records of a call.

    A layer is an operation that reads a parameter, or something that is made of parameters alone, and a tensor that
    depends on the inputs.

    Args:
        model: the model; what depends on integers only is found if it is looked up in an embedding.
        args: arguments; numbers that are not integers are inputs.
        kwargs: likewise.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    bits = {name: 2 << i for i, name in enumerate(names.values())}
    inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    for tensor in inputs:
        tensor.requires_grad_()
    with torch.enable_grad(), _Attached():
        out = model(*args, **(kwargs or {}))
    out = vars(out) if hasattr(out, "__dataclass_fields__") else dict(out) if isinstance(out, Mapping) else out
    roots = [leaf.grad_fn for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    sources = {id(tensor): INPUT for tensor in inputs} | {key: bits[name] for key, name in names.items()}
    sets = _sets(roots, sources)
    paths, name_of = Paths(), {bit: name for name, bit in bits.items()}
    for node, own in sets.items():
        if own & INPUT:
            reads = [sets[child] for child, _ in node.next_functions if child is not None]
            if _is_lookup(node):
                reads.append(INPUT)
            made_of_parameters = _union(read for read in reads if not read & INPUT)
            before = {name_of[bit] for bit in _bits(_union(read for read in reads if read & INPUT) & ~INPUT)}
            layer = {name_of[bit] for bit in _bits(made_of_parameters)}
            for name in layer:
                paths.upstream.setdefault(name, set()).update(before)
                paths.together.setdefault(name, set()).update(layer - {name})
    return paths


class _Attached(TorchFunctionMode):
    """Within it, values flow through `detach`, though gradients would not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if getattr(func, "__name__", "") == "detach" else func(*args, **(kwargs or {}))


def _sets(roots: Iterable[Any], sources: Mapping[int, int]) -> dict[Any, int]:
    """Return what each node of the graph of autograd depends on."""
    sets: dict[Any, int] = {}
    stack = list(roots)
    while stack:
        node = stack[-1]
        children = [child for child, _ in node.next_functions if child is not None]
        missing = [child for child in children if child not in sets]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        own = sources.get(id(node.variable), 0) if hasattr(node, "variable") else 0
        sets[node] = own | _union(sets[child] for child in children) | (INPUT if _is_lookup(node) else 0)
    return sets


def _is_lookup(node: Any) -> bool:
    return bool(node.name().startswith("Embedding"))


def _union(sets: Iterable[int]) -> int:
    result = 0
    for one in sets:
        result |= one
    return result


def _bits(bits: int) -> Iterator[int]:
    while bits:
        yield bits & -bits
        bits &= bits - 1


def traced_paths(graph: ArchGraph, parameters: Iterable[str]) -> dict[str, set[str]]:
    """Return for each parameter with nodes those that the input of one of its nodes depends on.

    A table of positions has no input; here it is that of the sum with activations.
    """
    known, names = set(parameters), graph.name.tolist()
    ancestors: list[set[int]] = [set() for _ in names]
    consumers: list[list[int]] = [[] for _ in names]
    for source, target in sorted(graph.edge_index.T.tolist(), key=lambda edge: edge[1]):
        ancestors[target] |= ancestors[source] | {source}
        consumers[source].append(target)
    result: dict[str, set[str]] = {}
    for node, name in enumerate(names):
        if name in known:
            at = consumers[node] if graph.op[node] == PRIMITIVE_INDEX["pos_enc"] else [node]
            before = {names[a] for place in at for a in ancestors[place] if a != node}
            result.setdefault(name, set()).update(before & known)
    return result


def wrong_paths(graph: ArchGraph, paths: Paths) -> list[str]:
    """Return paths that only the trace has, or only autograd, among parameters with nodes."""
    traced = traced_paths(graph, paths.upstream)
    wrong = []
    for name, before in traced.items():
        apart = traced.keys() - paths.together[name] - {name}
        for other in sorted(apart & (before ^ paths.upstream[name])):
            wrong.append(f"{other} -> {name} {'is only traced' if other in before else 'is not traced'}")
    return wrong
