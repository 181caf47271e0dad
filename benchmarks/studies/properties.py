"""Properties of networks from their graph embeddings (DeepNets paper, sections 5.2 and C.2.3, Figure 4).

A support vector regression is fitted to networks of val and ranks those of test. Kendall's tau-b of predicted and true
values says how much an embedding tells about a property. There are two baselines without a GHN: histograms of
primitives, and a Neural Predictor trained from scratch. Then the regression, fitted again to val and test, picks the
best networks of the search split.

Published values belong to the published networks, so they need the published file (--properties.folder). Otherwise the
networks are generated ones, and the properties come from a table of the user (--properties.values) or are measured on
this computer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.core.rank_correlation import kendall
from benchmarks.studies.configs import PropertiesConfig
from benchmarks.studies.parts import regression
from benchmarks.studies.parts.embeddings import graph_embeddings, primitive_histogram, split_graphs
from benchmarks.studies.parts.figures import plot_properties
from benchmarks.studies.parts.property_values import (
    FITTED,
    PUBLISHED,
    TESTED,
    measured_values,
    published_graphs,
    published_values,
    read_values,
)
from benchmarks.studies.study import Findings, StudyCase, Tables
from deepnets import ArchGraph
from deepnets.datasets.generation import split_path
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.symbolic.builder import count_parameters
from deepnets.utils.errors import InputError

Floats = NDArray[np.float64]

_SEARCH_BATCH = 500  # graphs of the search split that are in memory together
_SMALLER_IS_BETTER = ("time", "seconds", "flops", "loss")


@dataclass(frozen=True, eq=False)
class _Dataset:
    """Networks of val and test with their properties.

    Args:
        name: name of the data in tables.
        image_size, num_classes: image size and number of classes of the networks.
        graphs: by split.
        values: a column for each property, by split and index.
    """

    name: str
    image_size: int
    num_classes: int
    graphs: dict[str, list[ArchGraph]]
    values: pd.DataFrame

    def known_values(self, split: str, column: str) -> tuple[NDArray[np.intp], Floats]:
        """Return the networks of a split whose value is known, and the values."""
        values = self.values.loc[split][column].dropna()
        return values.index.to_numpy(), values.to_numpy(float)


@dataclass(frozen=True, eq=False)
class _PropertyResult:
    """Rows of the tables of one property."""

    correlations: list[dict[str, object]]
    predictions: pd.DataFrame
    picks: pd.DataFrame


def run(case: StudyCase, settings: PropertiesConfig) -> Findings:
    """Return the tables correlations, predictions, picks and values, and a figure."""
    datasets = list(_load_datasets(case, settings))
    results = [result for dataset in datasets for result in _predict_properties(case, settings, dataset)]
    values = [dataset.values.reset_index().assign(data=dataset.name) for dataset in datasets]
    tables = {
        "correlations": pd.DataFrame([row for result in results for row in result.correlations]),
        "predictions": pd.concat([result.predictions for result in results], ignore_index=True),
        "picks": pd.concat([result.picks for result in results], ignore_index=True),
        "values": pd.concat(values, ignore_index=True),
    }
    return Findings(tables, {"properties": plot_properties(case.name, tables["correlations"], tables["predictions"])})


def _load_datasets(case: StudyCase, settings: PropertiesConfig) -> Iterator[_Dataset]:
    """Yield the published data sets, or the one of the user's table or of the measurement."""
    if settings.folder is not None:
        for name, about in PUBLISHED.items():
            graphs = {split: published_graphs(settings.folder, split, name) for split in (FITTED, TESTED)}
            yield _Dataset(name, about.image_size, about.num_classes, graphs, published_values(name))
        return
    if settings.values is not None:
        name, values = "values", read_values(settings.values, settings.columns)
    else:
        name = "measured"
        values = measured_values(case.folder / "measured.csv", settings.networks, case.image_size)
    classes = case.ghn.config.num_classes
    graphs = {}
    for split in (FITTED, TESTED):
        index = values.loc[split].index
        if index.min() < 0 or index.max() >= SPLITS[split].size:
            raise InputError(f"{settings.values} has networks of {split} outside 0 to {SPLITS[split].size - 1}")
        graphs[split] = split_graphs(split, 0, int(index.max()) + 1, case.image_size, classes)
    yield _Dataset(name, case.image_size, classes, graphs, values)


def _predict_properties(case: StudyCase, settings: PropertiesConfig, data: _Dataset) -> Iterator[_PropertyResult]:
    """Yield the results of each property: predict it from embeddings, and pick networks by the GHN's predictions."""
    embeddings = {
        case.name: {split: graph_embeddings(case.ghn, graphs) for split, graphs in data.graphs.items()},
        "primitives": {split: primitive_histogram(graphs) for split, graphs in data.graphs.items()},
    }
    candidates = _search_embeddings(case, settings.search, data)
    for column in data.values:
        fits = {method: _fit(case, settings, data, x, column) for method, x in embeddings.items()}
        taus = {method: [fit.tau for fit in shuffles] for method, shuffles in fits.items()}
        if predictor_epochs(settings):
            taus["neupred"] = _neural_predictor_taus(case, settings, data, column)
        first = fits[case.name][0]  # of the first shuffle
        yield _PropertyResult(
            [_correlation_row(data, column, method, values) for method, values in taus.items()],
            _prediction_table(data, column, first.predicted),
            _pick_networks(settings, data, column, first.parameters, embeddings[case.name], candidates),
        )


def _search_embeddings(case: StudyCase, num: int, data: _Dataset) -> Floats:
    """Return the (num, d) embeddings of the first networks of the search split."""
    parts = []
    for start in tqdm(range(0, num, _SEARCH_BATCH), desc="search", unit=f" x {_SEARCH_BATCH} networks"):
        stop = min(start + _SEARCH_BATCH, num)
        graphs = split_graphs("search", start, stop, data.image_size, data.num_classes)
        parts.append(graph_embeddings(case.ghn, graphs))
    return np.concatenate(parts)


def _fit(
    case: StudyCase, settings: PropertiesConfig, data: _Dataset, embeddings: dict[str, Floats], column: str
) -> list[regression.Fit]:
    """Fit the regression of a property on embeddings, once for each shuffle of the folds."""
    (rows, y), (rows_test, y_test) = (data.known_values(split, column) for split in (FITTED, TESTED))
    x, x_test = embeddings[FITTED][rows], embeddings[TESTED][rows_test]
    return [regression.fit(x, y, x_test, y_test, case.seed + shuffle) for shuffle in range(settings.shuffles)]


def _neural_predictor_taus(case: StudyCase, settings: PropertiesConfig, data: _Dataset, column: str) -> list[float]:
    """Train the Neural Predictor once for each shuffle, and return tau on test."""
    from benchmarks.studies.parts.neural_predictor import SIZES, train_and_predict  # imports torch_geometric

    size, epochs = SIZES[settings.predictor], predictor_epochs(settings)

    (rows, y), (rows_test, y_test) = (data.known_values(split, column) for split in (FITTED, TESTED))
    graphs = [data.graphs[FITTED][i] for i in rows]
    graphs_test = [data.graphs[TESTED][i] for i in rows_test]
    return [
        kendall(train_and_predict(graphs, y, graphs_test, epochs, case.seed + shuffle, size), y_test)
        for shuffle in range(settings.shuffles)
    ]


def _correlation_row(data: _Dataset, column: str, method: str, taus: list[float]) -> dict[str, object]:
    fitted, tested = (len(data.known_values(split, column)[0]) for split in (FITTED, TESTED))
    about = {"data": data.name, "property": column, "method": method}
    spread = {"tau": np.mean(taus), "std": np.std(taus), "shuffles": len(taus)}
    return {**about, **spread, "fitted": fitted, "tested": tested}


def _prediction_table(data: _Dataset, column: str, predicted: Floats) -> pd.DataFrame:
    rows, values = data.known_values(TESTED, column)
    table = pd.DataFrame({"index": rows, "value": values, "predicted": predicted})
    return table.assign(data=data.name, property=column, split=TESTED)


def _pick_networks(
    settings: PropertiesConfig,
    data: _Dataset,
    column: str,
    parameters: dict[str, object],
    embeddings: dict[str, Floats],
    candidates: Floats,
) -> pd.DataFrame:
    """Return the best networks of the search split, by a regression fitted to val and test (section C.2.3)."""
    known = {split: data.known_values(split, column) for split in (FITTED, TESTED)}
    x = np.concatenate([embeddings[split][rows] for split, (rows, _) in known.items()])
    y = np.concatenate([values for _, values in known.values()])
    predicted = regression.predict(parameters, x, y, candidates)
    sign = 1 if any(word in column for word in _SMALLER_IS_BETTER) else -1
    best = np.argsort(sign * predicted, kind="stable")[: settings.top]
    return pd.DataFrame(
        {
            "data": data.name,
            "property": column,
            "rank": np.arange(1, len(best) + 1),
            "split": "search",
            "index": best,
            "predicted": predicted[best],
            "params": [_count_search_parameters(int(index), data) for index in best],
        }
    )


def _count_search_parameters(index: int, data: _Dataset) -> int:
    """Return the number of parameters of a network of the search split."""
    table = sample_networks("search", index, index + 1).architectures(data.image_size)
    return int(count_parameters(table, data.image_size, data.num_classes)[0])


def predictor_epochs(settings: PropertiesConfig) -> int:
    """Return the number of epochs of the Neural Predictor, 0 to leave it out."""
    from benchmarks.studies.parts.neural_predictor import SIZES

    return SIZES[settings.predictor].epochs if settings.epochs is None else settings.epochs


def summarize(tables: Tables) -> str:
    """Return tau by property and method, and the best network of the search split by property, as text."""
    correlations = tables["correlations"]
    cells = correlations.assign(
        cell=[f"{tau:.3f} ± {std:.3f}" for tau, std in zip(correlations["tau"], correlations["std"], strict=True)]
    )
    methods = list(dict.fromkeys(cells["method"]))
    shown = cells.pivot(index=["data", "property"], columns="method", values="cell")[methods]
    best = tables["picks"].query("rank == 1").drop(columns=["rank", "split"])
    return (
        f"Kendall's tau of predicted and true values on {TESTED} (std over shuffles):\n{shown.to_string()}\n\n"
        f"best of the search split by the regression on the GHN:\n{best.to_string(index=False)}"
    )


def input_files(settings: PropertiesConfig) -> list[Path]:
    """Return the files that the results depend on."""
    files = [] if settings.folder is None else [split_path(settings.folder, split) for split in (FITTED, TESTED)]
    for path in files:
        if not path.is_file():
            raise InputError(f"there is no {path}; deepnets import deepnets1m_eval.hdf5 --root {path.parent} makes it")
    return files if settings.values is None else [settings.values]
