"""The graph hypernetwork: graphs in, named parameters out."""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.tracing.tracer import trace
from deepnets.utils.errors import InputError
from ghn_models.config import GHNConfig
from ghn_models.inputs.graph_batch import GraphBatch
from ghn_models.inputs.prediction_targets import ParameterKind, PredictionTarget, Shape
from ghn_models.modules.decoder import ConvDecoder, DecodeShape, MLPDecoder, VectorDecoder
from ghn_models.modules.gated_gnn import GatedGNN
from ghn_models.modules.graphormer import Graphormer, NodePositionalEncoding
from ghn_models.modules.mlp import NodeMLP
from ghn_models.modules.node_encoding import NodeEncoding
from ghn_models.modules.parameter_fitting import (
    as_parameter,
    bias_range,
    norm_weight_range,
    resize,
    tile,
    weight_scale,
    write,
)
from ghn_models.modules.shape_groups import NodeSlot, ShapeGroup, ShapeGroups, decode_chunks
from ghn_models.reparametrization import update_reparametrizations

_NOT_CLASSIFIER = {
    ParameterKind.CLASSIFIER_WEIGHT: ParameterKind.WEIGHT,
    ParameterKind.CLASSIFIER_BIAS: ParameterKind.BIAS,
}
_VECTORS = (ParameterKind.NORM, ParameterKind.BIAS, ParameterKind.CLASSIFIER_BIAS)


@dataclass(frozen=True)
class DecodedGroup:
    """Predicted parameters of one shape.

    Args:
        parameters: for each parameter, the place of its graph in the meta-batch, and its name.
        shape: (out, in, height, width) of each.
        values: (n, o, i, height, width); repeating their channels makes the parameters.
        vector: whether they have one dimension, of `out` numbers.
    """

    parameters: list[tuple[int, str]]
    shape: Shape
    values: Tensor
    vector: bool = False


class GHN(nn.Module):
    """Graph hypernetwork: predicts the parameters of networks from their graphs.

    GHN-1 and GHN-2: Knyazev et al., 2021 (DeepNets paper, sections 3, 4 and B). GHN-3: Knyazev et al., 2023.

    >>> ghn = ghn_models.load("ghn3_t.digits")
    >>> model = ghn(torchvision.models.resnet18(num_classes=10))

    Args:
        config: its configuration.

    Attributes:
        kept: why parameters kept their values in the last call of this object, by name. Threads that share a GHN take
            what `initialize` returns instead.
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        self.config = config
        d = config.hidden
        self.encoding = NodeEncoding(d, config.num_classes, config.kernel_size, config.shape_encoding)
        self.position = NodePositionalEncoding(d, config.centrality, config.input_distance)
        self.graph_network = nn.ModuleList(_graph_network(config))
        self.norm = nn.LayerNorm(d) if config.layer_norm else nn.Identity()
        self.decoder = ConvDecoder(config) if config.decoder == "conv" else MLPDecoder(config)
        self.vector_decoder = VectorDecoder(config)
        self.kept: dict[str, str] = {}
        if config.graph_network == "graphormer":
            self._init_graphormer()

    def _init_graphormer(self) -> None:
        """Make first predictions small, and embeddings as in transformers; without this, large GHN-3 diverge."""
        last = self.decoder.conv2 if isinstance(self.decoder, ConvDecoder) else self.decoder.fc2
        for linear in (last, self.decoder.classifier, self.vector_decoder.mlp.linears[-1]):
            assert isinstance(linear, nn.Linear)
            nn.init.zeros_(linear.bias)
            with torch.no_grad():
                linear.weight.div_(5)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=module.embedding_dim**-0.5)

    def forward(
        self,
        model: nn.Module,
        input_size: int | Sequence[int] | None = None,
        graph: ArchGraph | None = None,
        keep: Iterable[str] = (),
    ) -> nn.Module:
        """Initialize a network with predicted parameters and return it.

        As `initialize`, but a warning says how many parameters are not predicted, and `kept` says why.

        Args:
            model: the network, on any device but meta.
            input_size: size of its images, as for `deepnets.trace`.
            graph: the result of `deepnets.trace`, if it is at hand.
            keep: names of parameters that keep their values, with shell-style wildcards, as in "backbone.*".

        Returns:
            The same network.

        Raises:
            TraceError: a network whose graph cannot be traced.
            InputError: a network on the meta device, where there is no memory to write to.
        """
        self.kept = kept = self.initialize(model, input_size, graph, keep)
        if kept:
            name, reason = next(iter(kept.items()))
            count = f"{len(kept)} of {len(list(model.parameters()))} parameters keep their initialization"
            warnings.warn(f"{count}, among them {name} ({reason}); see ghn.kept for all", stacklevel=2)
        return model

    def initialize(
        self,
        model: nn.Module,
        input_size: int | Sequence[int] | None = None,
        graph: ArchGraph | None = None,
        keep: Iterable[str] = (),
    ) -> dict[str, str]:
        """Predict the parameters of a network and write them into it, all or none of them.

        What is not predicted keeps its values. A classifier with other than `num_classes` outputs is among it, as in
        fine-tuning. Batch norm statistics are not parameters: evaluate within `batch_statistics`.

        Args:
            model: the network, on any device but meta.
            input_size: size of its images, as for `deepnets.trace`.
            graph: the result of `deepnets.trace`, if it is at hand.
            keep: names of parameters that keep their values, with shell-style wildcards, as in "backbone.*".

        Returns:
            Why parameters kept their values, by name.

        Raises:
            TraceError: a network whose graph cannot be traced.
            InputError: a network on the meta device, where there is no memory to write to.
        """
        if any(parameter.is_meta for parameter in model.parameters()):
            raise InputError("the network is on the meta device; use GHN.predict, or model.to_empty(device=...) before")
        graph = trace(model, input_size) if graph is None else graph
        batch = self.batch([graph])
        parameters = dict(model.named_parameters())
        kept = self._kept_unasked(parameters, graph) | _kept_as_asked(parameters, keep)
        written = set()
        with torch.no_grad():
            groups = list(self._decode(batch))  # before the first is written: an error leaves the network as it is
            for group in groups:
                for (_, name), value in zip(group.parameters, group.values, strict=True):
                    if name in parameters and name not in kept and write(parameters[name], value, group.shape):
                        written.add(name)
        written |= update_reparametrizations(model, written)
        reasons = _KeptReasons(graph, self._foreign_classifier(batch), self.config.num_classes)
        return {name: kept.get(name) or reasons.reason(name) for name in parameters if name not in written}

    def _kept_unasked(self, parameters: Mapping[str, Tensor], graph: ArchGraph) -> dict[str, str]:
        """Return which parameters cannot be predicted, whatever their shape, and why."""
        kept = {
            name: f"its numbers are {str(parameter.dtype).removeprefix('torch.')}, not real ones"
            for name, parameter in parameters.items()
            if not parameter.is_floating_point()
        }
        k = self.config.decoder_channels
        for name in graph.report.tables if graph.report is not None else ():
            if name in parameters and len(parameters[name]) > k:
                kept[name] = f"rows of this table would repeat: every {k}th would be the same"
        return kept

    def predict(
        self, graphs: Sequence[ArchGraph] | GraphBatch, networks: Sequence[nn.Module] | None = None
    ) -> list[dict[str, Tensor]]:
        """Predict the parameters of networks, differentiable with respect to those of the GHN.

        Args:
            graphs: the networks' graphs, or a meta-batch of them.
            networks: modules with these graphs, on any device, also meta. Values then have the shapes of their
                parameters; without, weights have the four dimensions (out, in, height, width) of their nodes.

        Returns:
            For each graph the predicted values by parameter name. Not predicted are parameters without a node, and a
            classifier with other than `num_classes` outputs.

        Raises:
            InputError: there are not as many networks as graphs.
        """
        batch = self.batch(graphs)
        if networks is not None and len(networks) != len(batch.graphs):
            raise InputError(f"there are {len(networks)} networks and {len(batch.graphs)} graphs; accepted: as many")
        parameters = [dict(network.named_parameters()) for network in networks or ()]
        result: list[dict[str, Tensor]] = [{} for _ in batch.graphs]
        for group in self._decode(batch):
            values = tile(group.values, group.shape[:2])  # (n, out, in, height, width)
            for (graph, name), value in zip(group.parameters, values, strict=True):
                if not parameters:
                    result[graph][name] = value.flatten() if group.vector else value
                elif name in parameters[graph]:
                    shaped = as_parameter(value, parameters[graph][name])
                    if shaped is not None:
                        result[graph][name] = shaped
        return result

    def embed(self, graphs: Sequence[ArchGraph] | GraphBatch) -> tuple[list[Tensor], Tensor]:
        """Compute features of nodes and of graphs.

        Returns:
            nodes: (n, d) for each graph, what the decoders read.
            graphs: (B, d) their means (DeepNets paper, section 5.2).
        """
        batch = self.batch(graphs)
        nodes = list(torch.split(self._features(batch), batch.sizes))
        return nodes, torch.stack([x.mean(0) for x in nodes])

    def batch(self, graphs: Sequence[ArchGraph] | GraphBatch) -> GraphBatch:
        """Return a meta-batch on the device of the GHN."""
        batch = graphs if isinstance(graphs, GraphBatch) else GraphBatch.from_graphs(graphs)
        return batch.to(self.encoding.primitive.weight.device)

    def _features(self, batch: GraphBatch) -> Tensor:
        """Compute the features of all nodes (N, d)."""
        shape = batch.shape
        foreign = [offset + t.node for _, offset, t in self._targets(batch) if self._is_foreign(t)]
        if foreign:  # encoded as the classifiers that the GHN was trained with
            shape = shape.clone()
            shape[foreign, 0] = self.config.num_classes
        x: Tensor = self.position(self.encoding(batch.primitive, shape), batch)
        for network in self.graph_network:
            x = network(x, batch)
        x = self.norm(x)
        return x

    def _targets(self, batch: GraphBatch) -> Iterator[tuple[int, int, PredictionTarget]]:
        """Yield each target with its graph and the first node of that graph."""
        for graph, (offset, targets) in enumerate(zip(batch.offsets, batch.targets, strict=True)):
            pooled = targets and targets[-1].node < batch.sizes[graph] - 1
            for target in targets:
                if pooled and not self.config.pooled_classifier and target.kind in _NOT_CLASSIFIER:
                    target = replace(target, kind=_NOT_CLASSIFIER[target.kind])
                yield graph, offset, target

    def _is_foreign(self, target: PredictionTarget) -> bool:
        """Return whether a parameter belongs to a classifier for other than `num_classes` classes."""
        is_classifier = target.kind in (ParameterKind.CLASSIFIER_WEIGHT, ParameterKind.CLASSIFIER_BIAS)
        return is_classifier and target.shape[0] != self.config.num_classes

    def _foreign_classifier(self, batch: GraphBatch) -> dict[str, int]:
        """Return the outputs of a classifier that is not predicted, by the names of its parameters."""
        return {t.names[0]: t.shape[0] for *_, t in self._targets(batch) if self._is_foreign(t)}

    def _decode(self, batch: GraphBatch) -> Iterator[DecodedGroup]:
        """Predict all parameters, those of one shape together."""
        x = self._features(batch)
        matrices: dict[tuple[ParameterKind, Shape], list[NodeSlot]] = defaultdict(list)
        vectors: dict[tuple[ParameterKind, Shape], list[NodeSlot]] = defaultdict(list)
        for graph, offset, target in self._targets(batch):
            if not self._is_foreign(target):
                groups = vectors if target.kind in _VECTORS else matrices
                groups[target.kind, target.shape].append(NodeSlot(graph, offset + target.node, target.names))
        yield from self._decode_matrices(x, matrices)
        yield from self._decode_vectors(x, vectors)

    def _decode_matrices(self, x: Tensor, groups: ShapeGroups) -> Iterator[DecodedGroup]:
        for chunk in decode_chunks(groups, self.config):
            features = [x[[slot.row for slot in group.slots]] for group in chunk]
            tensors = self.decoder(features, [self._decode_shape(group) for group in chunk])
            for (kind, shape, slots), w in zip(chunk, tensors, strict=True):
                w = resize(w, shape[2:], self.config.window)
                if kind is not ParameterKind.POSITION:
                    w = w * weight_scale(shape, self.config.normalize)
                yield DecodedGroup([(slot.graph, slot.names[0]) for slot in slots], shape, w)

    def _decode_shape(self, group: ShapeGroup) -> DecodeShape:
        k, (out, in_, *_) = self.config.decoder_channels, group.shape
        out_channels = k if group.kind is ParameterKind.CLASSIFIER_WEIGHT else min(out, k)
        return DecodeShape((out_channels, min(in_, k)), group.shape[2:], group.kind)

    def _decode_vectors(self, x: Tensor, groups: ShapeGroups) -> Iterator[DecodedGroup]:
        rows = [slot.row for slots in groups.values() for slot in slots]
        if not rows:
            return
        decoded = self.vector_decoder(x[rows]).split([len(slots) for slots in groups.values()])  # (n, 2, K) each
        for ((kind, shape), slots), vectors in zip(groups.items(), decoded, strict=True):
            weight, bias = self._weight_and_bias(vectors, kind)
            if kind is ParameterKind.NORM:
                yield _vector_group(weight, [(slot.graph, slot.names[0]) for slot in slots], shape)
                yield _vector_group(bias, [(slot.graph, slot.names[1]) for slot in slots], shape)
            else:
                yield _vector_group(bias, [(slot.graph, slot.names[0]) for slot in slots], shape)

    def _weight_and_bias(self, vectors: Tensor, kind: ParameterKind) -> tuple[Tensor, Tensor]:
        """Split decoded vectors (n, 2, K) into weights and biases (n, K); biases of classifiers (n, num_classes)."""
        weight, bias = vectors.unbind(1)
        if kind is ParameterKind.CLASSIFIER_BIAS:
            bias = self.vector_decoder.classify(vectors)
        if self.config.normalize == "none":
            return weight, bias
        return norm_weight_range(weight), bias_range(bias)


def _vector_group(values: Tensor, parameters: Sequence[tuple[int, str | None]], shape: Shape) -> DecodedGroup:
    """Return the vectors (n, K) of those parameters that exist."""
    existing = [(row, graph, name) for row, (graph, name) in enumerate(parameters) if name is not None]
    if len(existing) < len(parameters):
        values = values[[row for row, *_ in existing]]
    w = values[:, : shape[0], None, None, None]
    return DecodedGroup([(graph, name) for _, graph, name in existing], (shape[0], 1, 1, 1), w, vector=True)


def _kept_as_asked(parameters: Mapping[str, Tensor], patterns: Iterable[str]) -> dict[str, str]:
    """Return the parameters that a user wants to keep.

    Raises:
        InputError: a pattern that fits no parameter.
    """
    kept = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        names = [name for name in parameters if fnmatchcase(name, pattern)]
        if not names:
            raise InputError(
                f"keep has {pattern!r}, which is not the name of a parameter; names are as in {next(iter(parameters))}"
            )
        kept.update(dict.fromkeys(names, "kept as asked for"))
    return kept


class _KeptReasons:
    """Why parameters of a network are not predicted.

    Args:
        graph: its graph.
        foreign: outputs of a classifier that is not predicted, by the names of its parameters.
        num_classes: outputs of the classifiers that are.
    """

    def __init__(self, graph: ArchGraph, foreign: Mapping[str, int], num_classes: int) -> None:
        self.report, self.foreign, self.num_classes = graph.report, foreign, num_classes
        self.layers = {name.rpartition(".")[0] for name in graph.name.tolist()}

    def reason(self, name: str) -> str:
        """Return why a parameter is not predicted."""
        if name in self.foreign:
            return f"the classifier has {self.foreign[name]} outputs, the GHN was made for {self.num_classes}"
        if self.report is not None and name in self.report.unnamed:
            return self.report.unnamed[name]
        if self.report is not None and name in self.report.absorbed:
            return f"belongs to the node of {self.report.absorbed[name]}"
        if self.report is None and name.rpartition(".")[0] not in self.layers:
            return "does not reach the output"
        return "its shape is not that of a convolution, a linear layer or a table of positional encodings"


def _graph_network(config: GHNConfig) -> Iterator[nn.Module]:
    d = config.hidden
    if config.graph_network == "graphormer":
        yield Graphormer(d, config.layers, config.heads, config.edge_embedding)
    for _ in range(config.layers):
        if config.graph_network == "gated_gnn":
            yield GatedGNN(d, config.virtual_edges, config.propagation_steps, config.bidirectional)
        elif config.graph_network == "mlp":
            yield NodeMLP(d)
