"""The graph hypernetwork: graphs in, named parameters out."""

import warnings
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.tracing.tracer import trace
from ghn_models.config import GHNConfig
from ghn_models.inputs.graph_batch import GraphBatch
from ghn_models.inputs.prediction_targets import Kind, Shape, Target
from ghn_models.modules.decoder import ConvDecoder, MLPDecoder, Request, VectorDecoder
from ghn_models.modules.gated_gnn import GatedGNN
from ghn_models.modules.graphormer import Graphormer, NodePosition
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

_AT_ONCE = 2**26  # numbers decoded together when no gradient is needed


_ORDINARY = {Kind.CLASSIFIER_WEIGHT: Kind.WEIGHT, Kind.CLASSIFIER_BIAS: Kind.BIAS}


@dataclass(frozen=True)
class Decoded:
    """Parameters of one shape.

    Args:
        places: which graph of the meta-batch, and the parameter's name.
        shape: (out, in, height, width) that each of them has.
        values: (n, o, i, height, width) what they are made of by repeating channels.
        vector: they have one dimension, of `out` numbers.
    """

    places: list[tuple[int, str]]
    shape: Shape
    values: Tensor
    vector: bool = False


class GHN(nn.Module):
    """Graph hypernetwork: predicts the parameters of networks from their graphs.

    GHN-1 and GHN-2: Knyazev et al., 2021 (DeepNets paper, sections 3, 4 and B). GHN-3: Knyazev et al., 2023.

    Args:
        config: what it is made of.
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        self.config = config
        d = config.hidden
        self.encoding = NodeEncoding(d, config.num_classes, config.kernel_size)
        self.position = NodePosition(d, config.centrality, config.input_distance)
        self.graph_network = nn.ModuleList(_graph_network(config))
        self.norm = nn.LayerNorm(d) if config.layer_norm else nn.Identity()
        self.decoder = ConvDecoder(config) if config.decoder == "conv" else MLPDecoder(config)
        self.vector_decoder = VectorDecoder(config)
        self.kept: dict[str, str] = {}
        if config.graph_network == "graphormer":
            self._init_graphormer()

    def _init_graphormer(self) -> None:
        """Smaller first predictions, and embeddings as in transformers, without which large GHN-3 diverge."""
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
        self, model: nn.Module, input_size: int | Sequence[int] | None = None, graph: ArchGraph | None = None
    ) -> nn.Module:
        """Predicts the parameters of a network and writes them into it.

        What is not predicted keeps its initialisation: a warning says how many parameters, and `kept` why, by name. A
        classifier with other than `num_classes` outputs is among them, as in fine-tuning. Batch norm statistics are no
        parameters: evaluate within `batch_statistics`.

        Args:
            model: the network, on any device but meta.
            input_size: of its images, as for `deepnets.trace`.
            graph: what `deepnets.trace` made of it, if it is at hand.

        Returns:
            The same network.

        Raises:
            TraceError: a network whose graph cannot be traced.
            ValueError: a network on the meta device, where there is no memory to write to.
        """
        if any(parameter.is_meta for parameter in model.parameters()):
            raise ValueError("the network is on the meta device; use GHN.predict, or model.to_empty(device=...) before")
        graph = trace(model, input_size) if graph is None else graph
        batch = self.batch([graph])
        parameters = dict(model.named_parameters())
        written = set()
        with torch.no_grad():
            for decoded in self._decode(batch):
                for (_, name), value in zip(decoded.places, decoded.values, strict=True):
                    if name in parameters and write(parameters[name], value, decoded.shape):
                        written.add(name)
        foreign = {t.names[0]: t.shape[0] for *_, t in self._targets(batch) if self._is_foreign(t)}
        layers = {name.rpartition(".")[0] for name in graph.name.tolist()}
        self.kept = {name: self._why_kept(name, graph, foreign, layers) for name in parameters if name not in written}
        if self.kept:
            name, why = next(iter(self.kept.items()))
            some = f"{len(self.kept)} of {len(parameters)} parameters keep their initialisation"
            warnings.warn(f"{some}, among them {name} ({why}); see ghn.kept for all", stacklevel=2)
        return model

    def predict(
        self, graphs: Sequence[ArchGraph] | GraphBatch, networks: Sequence[nn.Module] | None = None
    ) -> list[dict[str, Tensor]]:
        """Parameters of networks, differentiable with respect to those of the GHN.

        Args:
            graphs: the networks' graphs, or a meta-batch of them.
            networks: modules with these graphs, on any device, also meta. Values then have the shapes of their
                parameters; without, weights have the four dimensions (out, in, height, width) of their nodes.

        Returns:
            For each graph the predicted values by parameter name. Not predicted are parameters without a node, and a
            classifier with other than `num_classes` outputs.

        Raises:
            ValueError: there are not as many networks as graphs.
        """
        batch = self.batch(graphs)
        if networks is not None and len(networks) != len(batch.graphs):
            raise ValueError(f"there are {len(networks)} networks and {len(batch.graphs)} graphs; accepted: as many")
        parameters = [dict(network.named_parameters()) for network in networks or ()]
        result: list[dict[str, Tensor]] = [{} for _ in batch.graphs]
        for decoded in self._decode(batch):
            values = tile(decoded.values, decoded.shape[:2])  # (n, out, in, height, width)
            for (graph, name), value in zip(decoded.places, values, strict=True):
                if not parameters:
                    result[graph][name] = value.flatten() if decoded.vector else value
                elif name in parameters[graph]:
                    shaped = as_parameter(value, parameters[graph][name])
                    if shaped is not None:
                        result[graph][name] = shaped
        return result

    def embed(self, graphs: Sequence[ArchGraph] | GraphBatch) -> tuple[list[Tensor], Tensor]:
        """Features of nodes and of graphs.

        Returns:
            nodes: (n, d) for each graph, what the decoders read.
            graphs: (B, d) their means (DeepNets paper, section 5.2).
        """
        batch = self.batch(graphs)
        nodes = list(self._features(batch).split(batch.sizes))
        return nodes, torch.stack([x.mean(0) for x in nodes])

    def batch(self, graphs: Sequence[ArchGraph] | GraphBatch) -> GraphBatch:
        """A meta-batch on the device of the GHN."""
        batch = graphs if isinstance(graphs, GraphBatch) else GraphBatch.from_graphs(graphs)
        return batch.to(self.encoding.primitive.weight.device)

    def _features(self, batch: GraphBatch) -> Tensor:
        """(N, d) features of all nodes."""
        shape = batch.shape
        foreign = [offset + t.node for _, offset, t in self._targets(batch) if self._is_foreign(t)]
        if foreign:  # encoded as the classifiers that the GHN was trained with
            shape = shape.clone()
            shape[foreign, 0] = self.config.num_classes
        x = self.position(self.encoding(batch.primitive, shape), batch)
        for network in self.graph_network:
            x = network(x, batch)
        return self.norm(x)

    def _targets(self, batch: GraphBatch) -> Iterator[tuple[int, int, Target]]:
        """Graph, its first node, and target."""
        for graph, (offset, targets) in enumerate(zip(batch.offsets, batch.targets, strict=True)):
            pooled = targets and targets[-1].node < batch.sizes[graph] - 1
            for target in targets:
                if pooled and not self.config.pooled_classifier and target.kind in _ORDINARY:
                    target = replace(target, kind=_ORDINARY[target.kind])
                yield graph, offset, target

    def _is_foreign(self, target: Target) -> bool:
        """Whether a parameter is of a classifier for other than `num_classes` classes."""
        is_classifier = target.kind in (Kind.CLASSIFIER_WEIGHT, Kind.CLASSIFIER_BIAS)
        return is_classifier and target.shape[0] != self.config.num_classes

    def _decode(self, batch: GraphBatch) -> Iterator[Decoded]:
        """All parameters, those of one shape together."""
        x = self._features(batch)
        matrices: dict[tuple[Kind, Shape], list[_Member]] = defaultdict(list)
        vectors: dict[tuple[Kind, Shape], list[_Member]] = defaultdict(list)
        for graph, offset, target in self._targets(batch):
            if not self._is_foreign(target):
                kinds = vectors if target.kind in (Kind.NORM, Kind.BIAS, Kind.CLASSIFIER_BIAS) else matrices
                kinds[target.kind, target.shape].append(_Member(graph, offset + target.node, target.names))
        yield from self._matrices(x, matrices)
        yield from self._vectors(x, vectors)

    def _matrices(self, x: Tensor, groups: "_Groups") -> Iterator[Decoded]:
        k = self.config.decoder_channels
        for part in _parts(groups, self.config):
            requests = [
                Request((k if kind is Kind.CLASSIFIER_WEIGHT else min(shape[0], k), min(shape[1], k)), shape[2:], kind)
                for kind, shape, _ in part
            ]
            tensors = self.decoder([x[[m.row for m in members]] for *_, members in part], requests)
            for (kind, shape, members), w in zip(part, tensors, strict=True):
                w = resize(w, shape[2:], self.config.window)
                if kind is not Kind.POSITION:
                    w = w * weight_scale(shape, self.config.normalize)
                yield Decoded([(m.graph, m.names[0]) for m in members], shape, w)

    def _vectors(self, x: Tensor, groups: "_Groups") -> Iterator[Decoded]:
        rows = [m.row for members in groups.values() for m in members]
        if not rows:
            return
        sizes = [len(members) for members in groups.values()]
        decoded = self.vector_decoder(x[rows]).split(sizes)  # (n, 2, K) for each group
        normalize = self.config.normalize != "none"
        for ((kind, shape), members), vectors in zip(groups.items(), decoded, strict=True):
            weight, bias = vectors.unbind(1)
            if kind is Kind.CLASSIFIER_BIAS:
                bias = self.vector_decoder.classify(vectors)
            if normalize:
                weight, bias = norm_weight_range(weight), bias_range(bias)
            values = {0: weight, 1: bias} if kind is Kind.NORM else {0: bias}
            for i, w in values.items():
                named = [(m.graph, name, row) for row, m in enumerate(members) if (name := m.names[i]) is not None]
                if len(named) < len(members):
                    w = w[[row for *_, row in named]]
                w = w[:, : shape[0], None, None, None]
                yield Decoded([(graph, name) for graph, name, _ in named], (shape[0], 1, 1, 1), w, vector=True)

    def _why_kept(self, name: str, graph: ArchGraph, foreign: Mapping[str, int], layers: Container[str]) -> str:
        report = graph.report
        if name in foreign:
            return f"the classifier has {foreign[name]} outputs, the GHN was made for {self.config.num_classes}"
        if report is not None and name in report.unnamed:
            return report.unnamed[name]
        if report is not None and name in report.absorbed:
            return f"belongs to the node of {report.absorbed[name]}"
        if report is None and name.rpartition(".")[0] not in layers:
            return "does not reach the output"
        return "its shape is none of a convolution, a linear layer or a table of positional encodings"


@dataclass(frozen=True)
class _Member:
    """A parameter of a group: graph, row of its features, names."""

    graph: int
    row: int
    names: tuple[str, str | None]


_Groups = Mapping[tuple[Kind, Shape], list[_Member]]


def _parts(groups: _Groups, config: GHNConfig) -> list[list[tuple[Kind, Shape, list[_Member]]]]:
    """What is decoded together: everything if gradients are needed, else as much as memory is good for."""
    everything = [(kind, shape, members) for (kind, shape), members in groups.items()]
    if torch.is_grad_enabled():
        return [everything] if everything else []
    k, s = config.decoder_channels, config.kernel_size
    parts: list[list[tuple[Kind, Shape, list[_Member]]]] = [[]]
    room = _AT_ONCE
    # Shapes that read the same channels come together, since they need the same part of the decoder's weights.
    for kind, shape, members in sorted(everything, key=lambda group: [min(c, k) for c in group[1][:2]]):
        numbers = min(shape[0], k) * min(shape[1], k) * min(shape[2], s) * min(shape[3], s)
        step = max(1, _AT_ONCE // numbers)
        for start in range(0, len(members), step):
            chunk = members[start : start + step]
            if parts[-1] and numbers * len(chunk) > room:
                parts.append([])
                room = _AT_ONCE
            parts[-1].append((kind, shape, chunk))
            room -= numbers * len(chunk)
    return [part for part in parts if part]


def _graph_network(config: GHNConfig) -> Iterator[nn.Module]:
    d = config.hidden
    if config.graph_network == "graphormer":
        yield Graphormer(d, config.layers, config.heads, config.edge_embedding)
    for _ in range(config.layers):
        if config.graph_network == "gated_gnn":
            yield GatedGNN(d, config.virtual_edges, config.sweeps, config.backward)
        elif config.graph_network == "mlp":
            yield NodeMLP(d)
