"""Distances between sets of networks, and a map of their graph embeddings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor, nn

from benchmarks.core.evaluation_networks import network_at
from benchmarks.core.torchvision_networks import torchvision_network
from benchmarks.published_results.paper_tables import paper_tables
from benchmarks.studies.parts.embeddings import graph_embeddings
from benchmarks.studies.parts.graph_set_distances import frechet_distance, hungarian_costs
from deepnets import ArchGraph, trace
from ghn_models import GHN

Floats = NDArray[np.float64]

_PRINTED = {"resnet34": "ResNet-34", "resnet50_no_skip": "ResNet-50-No-Skip", "vit": "ViT"}


def split_distances(
    graphs: Mapping[str, list[ArchGraph]], embeddings: Mapping[str, Floats], others: Floats
) -> pd.DataFrame:
    """Return the distances of splits from train (DeepNets paper, Table 11).

    Args:
        graphs, embeddings: graphs and their embeddings by split; `train` and any others.
        others: embeddings of networks of train that are not in `embeddings`.

    Returns:
        A row for each split. `frechet` is the Fréchet distance of its graph embeddings from those of train. `floor` is
        this distance for as many networks of train (`others`); it is above 0 because the covariance of few networks is
        a bad estimate. `hungarian` is the mean cost of the best assignment of nodes over all pairs of networks, and
        `hungarian_sem` its standard error over the networks of the split. `hungarian_published` is the paper's cost.
    """
    rows = []
    for split in graphs:
        if split == "train":
            continue
        costs = hungarian_costs(graphs[split], graphs["train"]).mean(1)
        rows.append(
            {
                "split": split,
                "networks": len(graphs[split]),
                "frechet": frechet_distance(embeddings[split], embeddings["train"]),
                "floor": frechet_distance(others[: len(graphs[split])], embeddings["train"]),
                "hungarian": costs.mean(),
                "hungarian_sem": costs.std() / len(costs) ** 0.5,
                "hungarian_published": _published("11", f"deepnets1m/{split} vs train"),
            }
        )
    return pd.DataFrame(rows)


def distances_from_resnet50(ghn: GHN, image_size: int) -> pd.DataFrame:
    """Return the distances of three networks from ResNet-50, by embeddings and by assignment costs (Table 10)."""
    graphs = {"resnet50": _traced("resnet50", ghn, image_size), "resnet34": _traced("resnet34", ghn, image_size)}
    graphs["resnet50_no_skip"] = trace(_without_skips(ghn, image_size), image_size)
    vit = network_at("vit", 0).build(image_size, ghn.config.num_classes)[1]
    assert vit is not None
    graphs["vit"] = vit
    embeddings = graph_embeddings(ghn, list(graphs.values()))
    costs = hungarian_costs(list(graphs.values()), [graphs["resnet50"]])[:, 0]
    rows = zip(graphs, np.linalg.norm(embeddings - embeddings[0], axis=1), costs, strict=True)
    table = pd.DataFrame(rows, columns=["network", "distance", "hungarian"]).iloc[1:]
    printed = [_published("10", f"{_PRINTED[name]} vs ResNet-50") for name in table["network"]]
    return table.assign(hungarian_published=printed).reset_index(drop=True)


def embedding_map(embeddings: Mapping[str, Floats]) -> tuple[pd.DataFrame, list[float]]:
    """Project all splits on the first two principal components of the embeddings of train.

    Returns:
        A table of split, index, x, y; and the shares of the variance of train that x and y explain.
    """
    pca = PCA(2, svd_solver="full").fit(embeddings["train"])
    signs = np.where(pca.components_.sum(1) < 0, -1, 1)[:, None]  # those of LAPACK differ between versions
    axes = pca.components_ * signs
    parts = []
    for split, part in embeddings.items():
        x, y = ((part - pca.mean_) @ axes.T).T
        parts.append(pd.DataFrame({"split": split, "index": np.arange(len(part)), "x": x, "y": y}))
    return pd.concat(parts, ignore_index=True), pca.explained_variance_ratio_.tolist()


def _published(table: str, networks: str) -> float:
    """Return the Hungarian cost that the paper prints, NaN if it prints none."""
    lines = paper_tables().query("source == 'ppuda2021' and table == @table and init_method == 'Hungarian'")
    costs = lines[lines["split_or_arch"] == networks]["value"]
    return float(costs.iloc[0]) if len(costs) else float("nan")


def _traced(name: str, ghn: GHN, image_size: int) -> ArchGraph:
    return trace(torchvision_network(name, image_size, ghn.config.num_classes), image_size)


def _without_skips(ghn: GHN, image_size: int) -> nn.Module:
    """Return ResNet-50 without the shortcuts of its residual blocks."""
    from torchvision.models.resnet import Bottleneck

    network = torchvision_network("resnet50", image_size, ghn.config.num_classes)
    for block in network.modules():
        if isinstance(block, Bottleneck):
            block.forward = partial(_convolutions, block)  # parameters keep their names
    return network


def _convolutions(block: Any, x: Tensor) -> Tensor:
    x = block.relu(block.bn1(block.conv1(x)))
    x = block.relu(block.bn2(block.conv2(x)))
    output: Tensor = block.relu(block.bn3(block.conv3(x)))
    return output
