"""Analysis of a GHN: distances between its graph embeddings, and statistics of the parameters that it predicts.

Fréchet and Hungarian distances of splits from train (DeepNets paper, Table 11) and of networks from ResNet-50 (Table
10), diversity and sparsity of predicted parameters (Table 12), variance of activations (GHN-3 paper, Figure 6),
correlation of channels (GHN-orth, Figure 2), and a map of graph embeddings (GHN-orth, Figure 5).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS
from benchmarks.studies.configs import AnalysisConfig
from benchmarks.studies.parts import figures
from benchmarks.studies.parts.diversity_sparsity import (
    cosine_distances,
    default_sparsity,
    first_layer,
    predict_weights,
)
from benchmarks.studies.parts.embeddings import graph_embeddings, split_graphs
from benchmarks.studies.parts.graph_space import distances_from_resnet50, embedding_map, split_distances
from benchmarks.studies.parts.layer_statistics import (
    NetworkFactory,
    activation_variances,
    channel_correlations,
)
from benchmarks.studies.study import Findings, StudyCase, Tables
from deepnets.networks.weight_layers import named_weight_layers
from deepnets.sampling.splits import SPLITS
from ghn_models.inputs.prediction_targets import find_targets

Floats = NDArray[np.float64]

_IMAGES = 64


def run(case: StudyCase, settings: AnalysisConfig) -> Findings:
    """Return the tables distances, resnet50, map, parameters and layers, and figures of most of them."""
    space, pictures = _graph_space(case, settings)
    parameters, distances, sparsities = _parameters(case, settings)
    layers, correlations = _layers(case, settings)
    pictures |= {"parameters": figures.plot_parameters(distances, sparsities)}
    if settings.networks:
        pictures["activations"] = figures.plot_activations(layers)
        pictures["correlations"] = figures.plot_correlations(layers, correlations)
    return Findings({**space, "parameters": parameters, "layers": layers}, pictures)


def _graph_space(case: StudyCase, settings: AnalysisConfig) -> tuple[Tables, dict[str, Figure]]:
    """Return the tables and figures of graph embeddings."""
    size, classes = case.image_size, case.ghn.config.num_classes
    counts = {split: min(settings.num or SPLITS[split].size, SPLITS[split].size) for split in EVALUATION_SPLITS}
    train = split_graphs("train", 0, settings.train + max(counts.values()), size, classes, case.seed)
    graphs = {"train": train[: settings.train]}
    graphs |= {split: split_graphs(split, 0, count, size, classes) for split, count in counts.items()}
    parts = tqdm({**graphs, "others": train[settings.train :]}.items(), desc="embeddings", unit=" splits")
    embeddings = {split: graph_embeddings(case.ghn, part) for split, part in parts}
    others = embeddings.pop("others")
    places, explained = embedding_map(embeddings)
    tables = {
        "distances": split_distances(graphs, embeddings, others),
        "resnet50": distances_from_resnet50(case.ghn, size),
        "map": places,
    }
    return tables, {
        "distances": figures.plot_distances(case.name, tables["distances"]),
        "map": figures.plot_map(case.name, places, explained),
    }


def _parameters(case: StudyCase, settings: AnalysisConfig) -> tuple[pd.DataFrame, dict[str, Floats], dict[str, Floats]]:
    """Return the table of diversity and sparsity, all pairwise distances, and the sparsity of each network by model."""
    size, classes = case.image_size, case.ghn.config.num_classes
    num = settings.num or SPLITS["val"].size
    graphs = [g for split in ("val", "test") for g in split_graphs(split, 0, num, size, classes)]
    predicted = predict_weights(case.ghn, graphs, settings.shape)
    random = torch.randn(predicted.of_shape.shape, generator=torch.Generator().manual_seed(case.seed))
    sparsities = {
        case.name: predicted.first_layer_sparsity,
        "randinit": np.array([default_sparsity(first_layer(find_targets(graph))) for graph in graphs]),
    }
    rows, distances = [], {}
    shape = "x".join(map(str, settings.shape))
    for name, weights in ((case.name, predicted.of_shape), ("randinit", random)):
        matrix = cosine_distances(weights)
        distances[name] = matrix.numpy()[np.triu_indices(len(matrix), 1)]
        row = {"model": name, "shape": shape, "tensors": len(weights), "diversity": matrix.mean().item()}
        rows.append({**row, "networks": len(graphs), "sparsity": sparsities[name].mean()})
    return pd.DataFrame(rows), distances, sparsities


def _layers(case: StudyCase, settings: AnalysisConfig) -> tuple[pd.DataFrame, dict[tuple[str, str, str], Floats]]:
    """Return the table of layers, and the correlations of some layers by network, initializer and layer."""
    assert case.images is not None
    images, _ = next(iter(case.images.test.batches(_IMAGES)))
    factory = NetworkFactory(case.ghn, case.name, case.image_size, case.seed, settings.beta, case.orth_layer)
    rows: list[dict[str, Any]] = []
    selected: dict[tuple[str, str, str], Floats] = {}
    jobs = [(network, init) for network in settings.networks for init in factory.initializers]
    for network, init in tqdm(jobs, desc="layers", unit=" networks"):
        model = factory.build(network, init)
        variances = activation_variances(model, images.cpu())
        weights = {name: module.weight for name, module in named_weight_layers(model)}
        for number, (name, variance) in enumerate(variances.items()):
            row = {"network": network, "init": init, "number": number, "layer": name, "variance": variance}
            correlations = channel_correlations(weights[name]).numpy()
            spread = {"correlation_std": correlations.std(), "correlation_abs": np.abs(correlations).mean()}
            rows.append({**row, **spread})
            if number in _selected(len(variances)):
                selected[network, init, name] = correlations
    columns = ["network", "init", "number", "layer", "variance", "correlation_std", "correlation_abs"]
    return pd.DataFrame(rows, columns=columns), selected


def _selected(layers: int) -> list[int]:
    """Return the numbers of three layers: at a quarter, half and three quarters of the depth."""
    return [layers * quarter // 4 for quarter in (1, 2, 3)]


def summarize(tables: Tables) -> str:
    """Return the short tables and means over layers as text."""
    columns = {"variance": ("variance", "median"), "correlation_std": ("correlation_std", "mean")}
    layers = tables["layers"].groupby(["network", "init"], sort=False).agg(**columns)
    return "\n\n".join(_titled_tables(tables, layers))


def _titled_tables(tables: Tables, layers: pd.DataFrame) -> Iterator[str]:
    """Yield the tables of the summary as text, each with a title."""

    def text(table: pd.DataFrame, index: bool = False) -> str:
        return str(table.to_string(index=index, float_format="{:.3g}".format))

    yield f"distances from train (DeepNets paper, Table 11):\n{_fixed_digits(tables['distances'])}"
    yield f"distances from ResNet-50 (Table 10):\n{_fixed_digits(tables['resnet50'])}"
    yield f"predicted parameters (Table 12):\n{text(tables['parameters'])}"
    if len(layers):
        yield f"layers, median variance of activations and mean std of channel correlations:\n{text(layers, True)}"


def _fixed_digits(table: pd.DataFrame) -> str:
    """Return a table as text: costs with one digit after the point, other numbers with three."""
    digits = {name: "{:.1f}" if "hungarian" in name else "{:.3f}" for name in table.select_dtypes("float")}
    return str(table.to_string(index=False, formatters={name: text.format for name, text in digits.items()}))
