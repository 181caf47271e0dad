"""What was measured on the public GHN codes: configurations, weights, graphs and predicted parameters."""

import gzip
import json
import zlib
from functools import cache
from typing import Any, Literal

import numpy as np
import torch

from deepnets import ArchGraph
from deepnets.graphs.primitives import PRIMITIVE_INDEX
from ghn_models.checkpoints.folder import load_state_strict
from ghn_models.checkpoints.published import from_published, to_published
from ghn_models.config import GHNConfig
from ghn_models.hypernetwork import GHN
from tests.support.paths import GOLDEN


@cache
def recorded() -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(gzip.decompress((GOLDEN / "ghn.json.gz").read_bytes()))
    return golden


def recorded_config(name: str) -> GHNConfig:
    its = recorded()["configs"][name]
    common = {
        "hidden": its["hid"],
        "decoder_channels": its["max_shape"][0],
        "kernel_size": its["max_shape"][2],
        "num_classes": its["num_classes"],
        "layer_norm": its["layernorm"],
        "normalize": "fan_in" if its["weight_norm"] else "none",
        "virtual_edges": its["ve"],
    }
    if "hypernet" in its:
        names: dict[str, Literal["gated_gnn", "mlp"]] = {"gatedgnn": "gated_gnn", "mlp": "mlp"}
        return GHNConfig(graph_network=names[its["hypernet"]], decoder=its["decoder"], **common)
    if its["is_ghn2"]:
        return GHNConfig(graph_network="gated_gnn", **common)
    graphormer = {"layers": its["layers"], "heads": its["heads"], "centrality": True, "input_distance": True}
    return GHNConfig(graph_network="graphormer", window="centre", pooled_classifier=True, **graphormer, **common)


def recorded_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weights that the recorded GHNs had, a function of the parameter's published name."""
    values = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    if len(shape) >= 2:
        values = values / np.sqrt(np.prod(shape[1:]))
    else:
        values = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
    return torch.from_numpy(values.astype(np.float32).astype(np.float16).astype(np.float32))


@cache
def recorded_ghn(name: str) -> GHN:
    config = recorded_config(name)
    with torch.device("meta"):
        ghn = GHN(config)
    shapes = to_published(ghn.state_dict(), config)
    if recorded()["configs"][name].get("is_ghn2"):  # the GHN-3 code has linear layers here also for GHN-2
        shapes = {k: v.flatten(1) if v.dim() == 4 else v for k, v in shapes.items()}
    published = {k: recorded_weight(k, tuple(v.shape)) for k, v in shapes.items()}
    load_state_strict(ghn, from_published(published, config), name)
    return ghn


def recorded_graph(config: str, network: str) -> ArchGraph:
    its = recorded()["results"][config][network]["graph"]
    names, shape = list(its["ops"]), np.zeros((its["n_nodes"], 4), np.int32)
    for node, name, op, size, *_ in its["nodes"]:
        shape[node] = (*size, 1, 1, 1)[:4]
        names[node] = name if "pool" not in op else op
    edges = sorted((target, source) for source, target in its["edges"])
    return ArchGraph(
        op=np.array([PRIMITIVE_INDEX[op] for op in its["ops"]], np.uint8),
        cell=np.zeros(its["n_nodes"], np.uint8),
        name=np.array(names),
        shape=shape,
        edge_index=np.array(edges, np.int32).T[::-1],
    )


def difference(value: torch.Tensor, its: dict[str, Any]) -> float:
    """Largest difference of a parameter to its samples and its norm, relative to the largest value and the norm."""
    flat, index, expected = value.flatten(), torch.tensor(its["idx"]), torch.tensor(its["val"])
    first = 0
    if len(its["shape"]) == 3:  # a table of positional encodings, where that of the class token is random
        first = its["shape"][-1]
        if value.dim() == 4:
            flat = torch.cat([torch.zeros(first), value[0].flatten(1).T.flatten()])
    else:
        assert abs(flat.double().norm().item() / its["norm"] - 1) < 1e-5
    predicted = index >= first
    return ((flat[index] - expected)[predicted].abs().max() / expected[predicted].abs().max()).item()
