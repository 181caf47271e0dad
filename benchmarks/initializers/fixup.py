"""FixUp: initialization of residual networks without batch norm (Zhang et al., 2019)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.initializers.base import InitContext
from deepnets import ArchGraph, trace
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from deepnets.networks.weight_layers import named_weight_layers
from deepnets.utils.errors import InputError
from ghn_models.inputs.prediction_targets import classifier_nodes

_WEIGHTS = frozenset(PRIMITIVE_INDEX[name] for name in ("conv", "sep_conv", "dil_conv"))
_JOINS = frozenset(PRIMITIVE_INDEX[name] for name in ("sum", "concat"))
_SUM, _INPUT = PRIMITIVE_INDEX["sum"], PRIMITIVE_INDEX["input"]
_LAYER_SCALE = "layer_scale"  # in torchvision's ConvNeXts


def fixup(model: nn.Module, context: InitContext) -> None:
    """Apply FixUp to any network without batch norm (Zhang et al., 2019, section 3).

    All layers are initialized as by He et al., with variance 2 / max(fan_in, fan_out): the authors take fan_out, which
    is the same where ResNets get wider, but explodes where cells join many states. The classifier and the last layer of
    each residual branch become 0, the other weights of a branch with m layers are multiplied with L^(-1 / (2 m - 2)),
    where L is the number of branches. For networks other than ResNets, branches are defined in `residual_branches`. A
    classifier that is not the last layer keeps its initialization by He: in SqueezeNet a ReLU follows, which would pass
    no gradient at 0. Scales of branches that a network has already become 1, since almost nothing passes both 0 and the
    1e-6 of ConvNeXt.

    Scalar parameters come along: biases before each convolution and linear layer and behind those without a bias
    (which makes one before each activation), and a multiplier at the end of each branch. They belong to the layers, as
    `fixup_before`, `fixup_after` and `fixup_scale`, and are not among the parameters that tables count. Their learning
    rate is a tenth of the others', see `benchmarks.training.optimizers`.

    Raises:
        InputError: the network has batch norm, which FixUp replaces, or attention in one function, which leaves its
            scalars no place.
    """
    norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    if norms:
        raise InputError(f"FixUp is for networks without batch norm, and this one has {len(norms)} such layers")
    if _has_single_function_attention(model):
        raise InputError("FixUp's scalars belong to layers, and attention of this network is a single function")
    graph = trace(model, context.image_size) if context.graph is None else context.graph
    branches = residual_branches(graph)
    _he(model, context.generator)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in _last_layer(graph):
            parameters[name].zero_()
        for name, parameter in parameters.items():
            if name.endswith(_LAYER_SCALE):
                parameter.fill_(1)
        for branch in branches:
            parameters[branch[-1]].zero_()
            for name in branch[:-1]:
                parameters[name].mul_(len(branches) ** (-1 / (2 * len(branch) - 2)))
    _add_scalars(model, {branch[-1] for branch in branches})


def _has_single_function_attention(model: nn.Module) -> bool:
    """Return whether the network has attention layers that use weights of linear layers without calling these."""
    from torchvision.models.swin_transformer import ShiftedWindowAttention  # torchvision takes a second

    return any(isinstance(module, nn.MultiheadAttention | ShiftedWindowAttention) for module in model.modules())


def residual_branches(graph: ArchGraph) -> list[list[str]]:
    """Return the names of the weights of each residual branch, in the order of execution.

    The summands of each sum are followed back to the next fork, sum or concatenation. The one with the fewest layers is
    the shortcut (an identity, a pooling, a projection, or the first of several as long ones), and all others are
    branches. So the blocks of ResNets and transformers have the usual branches, and in cells, where operations of any
    kind are summed, one of them carries the signal.

    The branch of squeeze and excitation is that of its gate. It damps its input, so it is a shortcut if there is no
    other; a gate within a longer branch ends that.
    """
    before: list[list[int]] = [[] for _ in range(len(graph))]
    readers = [0] * len(graph)
    for source, target in graph.edge_index.T.tolist():
        before[target].append(source)
        readers[source] += 1
    branches = []
    for node in range(len(graph)):
        if graph.op[node] != _SUM:
            continue
        chains = [_chain(graph, before, readers, source) for source in before[node]]
        chains = sorted((chain for chain in chains if not chain.constant), key=lambda chain: chain.rank)
        branches += [chain.weights for chain in chains[1:] if chain.weights]
    return branches


@dataclass(frozen=True)
class _Chain:
    """Path to a summand.

    Args:
        weights: names of its weights.
        gated: it ends with a gate.
        constant: no input reaches it.
    """

    weights: list[str]
    gated: bool
    constant: bool

    @property
    def rank(self) -> tuple[bool, int]:
        """The chain of the lowest rank is the shortcut."""
        return self.gated, len(self.weights)


def _chain(graph: ArchGraph, before: list[list[int]], readers: list[int], node: int) -> _Chain:
    weights: list[str] = []
    while readers[node] <= 1 and graph.op[node] not in _JOINS and len(before[node]) == 1:
        if graph.op[node] in _WEIGHTS:
            weights.append(str(graph.name[node]))
        node = before[node][0]
    gated = readers[node] <= 1 and len(before[node]) > 1 and graph.op[node] not in _JOINS
    if gated and not weights:
        weights = max((_chain(graph, before, readers, source).weights[::-1] for source in before[node]), key=len)
    constant = not before[node] and graph.op[node] != _INPUT
    return _Chain(weights[::-1], gated, constant)


def _last_layer(graph: ArchGraph) -> list[str]:
    """Return the names of the classifier's parameters if the network ends with the classifier."""
    nodes = [node for node in classifier_nodes(graph) if node is not None]
    return [str(graph.name[node]) for node in nodes] if len(graph) - 1 in nodes else []


@torch.no_grad()
def _he(model: nn.Module, generator: torch.Generator) -> None:
    for _, module in named_weight_layers(model):
        fan_in = module.weight[0].numel()
        fan_out = len(module.weight) * module.weight[0, 0].numel() // getattr(module, "groups", 1)
        module.weight.normal_(0, (2 / max(fan_in, fan_out)) ** 0.5, generator=generator)
        if module.bias is not None:
            module.bias.zero_()


def _add_scalars(model: nn.Module, ends: set[str]) -> None:
    for prefix, module in named_weight_layers(model):
        scalars = {"before": 0.0}
        if f"{prefix}.weight" in ends:
            scalars["scale"] = 1.0
        if module.bias is None:
            scalars["after"] = 0.0
        for name, value in scalars.items():
            module.register_parameter(f"fixup_{name}", nn.Parameter(module.weight.new_full((1,), value)))
        module.register_forward_pre_hook(_before)
        module.register_forward_hook(_after)


# Hooks get the module as an argument, so that copies of a network have scalars of their own.
def _before(module: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0] + module.fixup_before,)


def _after(module: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    if hasattr(module, "fixup_scale"):
        output = output * module.fixup_scale
    return output + module.fixup_after if hasattr(module, "fixup_after") else output
