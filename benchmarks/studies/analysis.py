"""What a GHN makes of networks: distances between graphs, and what its predicted parameters are like.

Fréchet and Hungarian distances of splits from train (DeepNets paper, Table 11) and of networks from ResNet-50 (Table
10), diversity and sparsity of predicted parameters (Table 12), variance of activations (GHN-3 paper, Figure 6),
correlation of channels (GHN-orth, Figure 2), and a map of graph embeddings (GHN-orth, Figure 5).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS
from benchmarks.studies.configs import AnalysisConfig
from benchmarks.studies.parts import figures
from benchmarks.studies.parts.diversity_sparsity import (
    cosine_distances,
    default_sparsity,
    first_layer,
    predicted_tensors,
)
from benchmarks.studies.parts.embeddings import graph_embeddings, split_graphs
from benchmarks.studies.parts.graph_space import distances_from_resnet50, embedding_map, split_distances
from benchmarks.studies.parts.layer_statistics import (
    Initialised,
    activation_variances,
    channel_correlations,
    weighted_layers,
)
from benchmarks.studies.study import Case, Findings, Tables
from deepnets.sampling.splits import SPLITS
from ghn_models.inputs.prediction_targets import find_targets

_IMAGES = 64


def run(case: Case, settings: AnalysisConfig) -> Findings:
    """The tables distances, resnet50, map, parameters and layers, and a picture of most."""
    space, pictures = _graph_space(case, settings)
    parameters, distances, small = _parameters(case, settings)
    layers, correlations = _layers(case, settings)
    pictures |= {"parameters": figures.draw_parameters(distances, small)}
    if settings.networks:
        pictures["activations"] = figures.draw_activations(layers)
        pictures["correlations"] = figures.draw_correlations(layers, correlations)
    return Findings({**space, "parameters": parameters, "layers": layers}, pictures)


def _graph_space(case: Case, settings: AnalysisConfig) -> tuple[Tables, dict[str, Any]]:
    size, classes = case.image_size, case.ghn.config.num_classes
    counts = {split: min(settings.num or SPLITS[split].size, SPLITS[split].size) for split in EVALUATION_SPLITS}
    train = split_graphs("train", 0, settings.train + max(counts.values()), size, classes, case.seed)
    graphs = {"train": train[: settings.train]}
    graphs |= {split: split_graphs(split, 0, count, size, classes) for split, count in counts.items()}
    parts = tqdm({**graphs, "others": train[settings.train :]}.items(), desc="embeddings", unit=" splits")
    embeddings = {split: graph_embeddings(case.ghn, some) for split, some in parts}
    others = embeddings.pop("others")
    places, explained = embedding_map(embeddings)
    tables = {
        "distances": split_distances(graphs, embeddings, others),
        "resnet50": distances_from_resnet50(case.ghn, size),
        "map": places,
    }
    return tables, {
        "distances": figures.draw_distances(case.name, tables["distances"]),
        "map": figures.draw_map(case.name, places, explained),
    }


def _parameters(
    case: Case, settings: AnalysisConfig
) -> tuple[pd.DataFrame, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Table of diversity and sparsity; all pairwise distances and the sparsity of each network, by initialisation."""
    size, classes = case.image_size, case.ghn.config.num_classes
    count = settings.num or SPLITS["val"].size
    graphs = [g for split in ("val", "test") for g in split_graphs(split, 0, count, size, classes)]
    found = predicted_tensors(case.ghn, graphs, settings.shape)
    random = torch.randn(found.of_shape.shape, generator=torch.Generator().manual_seed(case.seed))
    rows, distances, small = [], {}, {}
    shares = {
        case.name: found.small,
        "randinit": np.array([default_sparsity(first_layer(find_targets(g))) for g in graphs]),
    }
    for name, tensors in ((case.name, found.of_shape), ("randinit", random)):
        matrix = cosine_distances(tensors)
        distances[name] = matrix.numpy()[np.triu_indices(len(matrix), 1)]
        small[name] = shares[name]
        shape = "x".join(map(str, settings.shape))
        row = {"model": name, "shape": shape, "tensors": len(tensors), "diversity": matrix.mean().item()}
        rows.append({**row, "networks": len(graphs), "sparsity": shares[name].mean()})
    return pd.DataFrame(rows), distances, small


def _layers(case: Case, settings: AnalysisConfig) -> tuple[pd.DataFrame, dict[tuple[str, str, str], np.ndarray]]:
    """Lines of network, init, layer and what is measured in it; and the correlations of some layers of each network."""
    assert case.images is not None
    images, _ = next(iter(case.images.test.batches(_IMAGES)))
    inits = Initialised(case.ghn, case.name, case.image_size, case.seed, settings.beta, case.orth_layer)
    rows: list[dict[str, Any]] = []
    kept: dict[tuple[str, str, str], np.ndarray] = {}
    jobs = [(network, init) for network in settings.networks for init in inits.kinds]
    for network, init in tqdm(jobs, desc="layers", unit=" networks"):
        model = inits.network(network, init)
        variances = activation_variances(model, images.cpu())
        weights = dict(weighted_layers(model))
        for number, (name, variance) in enumerate(variances.items()):
            line = {"network": network, "init": init, "number": number, "layer": name, "variance": variance}
            of_layer = channel_correlations(weights[name].weight).numpy()  # type: ignore[arg-type]
            rows.append({**line, "correlation_std": of_layer.std(), "correlation_abs": np.abs(of_layer).mean()})
            if number in _selected(len(variances)):
                kept[network, init, name] = of_layer
    columns = ["network", "init", "number", "layer", "variance", "correlation_std", "correlation_abs"]
    return pd.DataFrame(rows, columns=columns), kept


def _selected(layers: int) -> list[int]:
    """Three layers: at a quarter, at half and at three quarters of the depth."""
    return [layers * quarter // 4 for quarter in (1, 2, 3)]


def summary(tables: Tables) -> str:
    """The tables that are short enough to be read, and means over layers."""
    columns = {"variance": ("variance", "median"), "correlation_std": ("correlation_std", "mean")}
    layers = tables["layers"].groupby(["network", "init"], sort=False).agg(**columns)
    return "\n\n".join(_titled(tables, layers))


def _titled(tables: Tables, layers: pd.DataFrame) -> Iterator[str]:
    def text(table: pd.DataFrame, index: bool = False) -> str:
        return table.to_string(index=index, float_format="{:.3g}".format)

    yield f"distances from train (DeepNets paper, Table 11):\n{_fixed(tables['distances'])}"
    yield f"distances from ResNet-50 (Table 10):\n{_fixed(tables['resnet50'])}"
    yield f"predicted parameters (Table 12):\n{text(tables['parameters'])}"
    if len(layers):
        yield f"layers, median variance of activations and mean std of channel correlations:\n{text(layers, True)}"


def _fixed(table: pd.DataFrame) -> str:
    digits = {name: "{:.1f}" if "hungarian" in name else "{:.3f}" for name in table.select_dtypes("float")}
    return table.to_string(index=False, formatters={name: text.format for name, text in digits.items()})
