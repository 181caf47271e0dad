"""Properties of networks from their graph embeddings (DeepNets paper, sections 5.2 and C.2.3, Figure 4).

A support vector regression is fitted to networks of val and ranks those of test; Kendall's tau-b of predicted and true
values says how much an embedding knows of a property. Beside the GHN there are two baselines: counted primitives, and
a Neural Predictor that is trained from scratch. Then the regression, fitted again to val and test, picks networks of
the search split.

Published values belong to the published networks, so they need the published file (--properties.folder); without it the
networks are generated ones, and the properties what can be measured on any computer, or a table of the user's
(--properties.values).
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
from benchmarks.studies.parts.embeddings import graph_embeddings, primitive_histogram, split_graphs, used_table
from benchmarks.studies.parts.figures import draw_properties
from benchmarks.studies.parts.property_values import (
    FITTED,
    PUBLISHED,
    TESTED,
    measured_values,
    published_graphs,
    published_values,
    read_values,
)
from benchmarks.studies.study import Case, Findings, Tables
from deepnets import ArchGraph
from deepnets.datasets.generation import split_path
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.symbolic.builder import count_parameters

Floats = NDArray[np.float64]

_PART = 500
_SMALLER_IS_BETTER = ("time", "seconds", "flops", "loss")


@dataclass(frozen=True, eq=False)
class _Data:
    """Networks of val and test with their properties.

    Args:
        name: of the data.
        image_size, num_classes: of the networks.
        graphs: by split.
        values: properties by split and index.
    """

    name: str
    image_size: int
    num_classes: int
    graphs: dict[str, list[ArchGraph]]
    values: pd.DataFrame

    def known(self, split: str, column: str) -> tuple[NDArray[np.intp], Floats]:
        """Networks of a split whose value is known, and the values."""
        values = self.values.loc[split][column].dropna()
        return values.index.to_numpy(), values.to_numpy(float)


def run(case: Case, settings: PropertiesConfig) -> Findings:
    """The tables correlations, predictions, picks and values."""
    correlations, predictions, picks = [], [], []
    data = list(_data(case, settings))
    for one in data:
        embedded = {
            case.name: {split: graph_embeddings(case.ghn, graphs) for split, graphs in one.graphs.items()},
            "primitives": {split: primitive_histogram(graphs) for split, graphs in one.graphs.items()},
        }
        candidates = _search_embeddings(case, settings.search, one)
        for column in one.values:
            parameters, predicted, taus = _regressions(case, settings, one, embedded, column)
            for method, values in taus.items():
                spread = {"tau": np.mean(values), "std": np.std(values), "shuffles": len(values)}
                fitted, tested = (len(one.known(split, column)[0]) for split in (FITTED, TESTED))
                about = {"data": one.name, "property": column, "method": method}
                correlations.append({**about, **spread, "fitted": fitted, "tested": tested})
            predictions.append(predicted)
            picks.append(_picks(settings, one, column, parameters, embedded[case.name], candidates))
    tables = {
        "correlations": pd.DataFrame(correlations),
        "predictions": pd.concat(predictions, ignore_index=True),
        "picks": pd.concat(picks, ignore_index=True),
        "values": pd.concat([one.values.reset_index().assign(data=one.name) for one in data], ignore_index=True),
    }
    return Findings(tables, {"properties": draw_properties(case.name, tables["correlations"], tables["predictions"])})


def _data(case: Case, settings: PropertiesConfig) -> Iterator[_Data]:
    if settings.folder is not None:
        for name, about in PUBLISHED.items():
            graphs = {split: published_graphs(settings.folder, split, name) for split in (FITTED, TESTED)}
            yield _Data(name, about.image_size, about.num_classes, graphs, published_values(name))
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
            raise ValueError(f"{settings.values} has networks of {split} outside 0 to {SPLITS[split].size - 1}")
        graphs[split] = split_graphs(split, 0, int(index.max()) + 1, case.image_size, classes)
    yield _Data(name, case.image_size, classes, graphs, values)


def _search_embeddings(case: Case, count: int, data: _Data) -> Floats:
    """(count, d) embeddings of the first networks of the search split, some of which are in memory at a time."""
    parts = []
    for start in tqdm(range(0, count, _PART), desc="search", unit=f" x {_PART} networks"):
        stop = min(start + _PART, count)
        graphs = split_graphs("search", start, stop, data.image_size, data.num_classes)
        parts.append(graph_embeddings(case.ghn, graphs))
    return np.concatenate(parts)


def _regressions(
    case: Case, settings: PropertiesConfig, data: _Data, embedded: dict[str, dict[str, Floats]], column: str
) -> tuple[dict[str, object], pd.DataFrame, dict[str, list[float]]]:
    """Parameters of the first shuffle of the GHN, its predictions as a table, and tau of all shuffles by method."""
    (rows, y), (rows_test, y_test) = (data.known(split, column) for split in (FITTED, TESTED))
    fits = {
        method: [
            regression.fit(x[FITTED][rows], y, x[TESTED][rows_test], y_test, case.seed + shuffle)
            for shuffle in range(settings.shuffles)
        ]
        for method, x in embedded.items()
    }
    taus = {method: [fit.tau for fit in those] for method, those in fits.items()}
    if settings.epochs:
        from benchmarks.studies.parts.neural_predictor import train_and_predict

        graphs, others = ([data.graphs[s][i] for i in r] for s, r in ((FITTED, rows), (TESTED, rows_test)))
        taus["neupred"] = [
            kendall(train_and_predict(graphs, y, others, settings.epochs, case.seed + shuffle), y_test)
            for shuffle in range(settings.shuffles)
        ]
    first = fits[case.name][0]
    table = pd.DataFrame({"index": rows_test, "value": y_test, "predicted": first.predicted})
    return first.parameters, table.assign(data=data.name, property=column, split=TESTED), taus


def _picks(
    settings: PropertiesConfig,
    data: _Data,
    column: str,
    parameters: dict[str, object],
    embedded: dict[str, Floats],
    candidates: Floats,
) -> pd.DataFrame:
    """The best networks of the search split, by a regression that is fitted to val and test (section C.2.3)."""
    known = {split: data.known(split, column) for split in (FITTED, TESTED)}
    x = np.concatenate([embedded[split][rows] for split, (rows, _) in known.items()])
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
            "params": [_parameters(int(index), data) for index in best],
        }
    )


def _parameters(index: int, data: _Data) -> int:
    """Parameters of a network of the search split."""
    table = used_table("search", sample_networks("search", index, index + 1), data.image_size, 0)
    return int(count_parameters(table, data.image_size, data.num_classes)[0])


def summary(tables: Tables) -> str:
    """Tau by property and method, and the best network of the search split by property."""
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


def inputs(settings: PropertiesConfig) -> list[Path]:
    """Files that the results depend on."""
    files = [] if settings.folder is None else [split_path(settings.folder, split) for split in (FITTED, TESTED)]
    for path in files:
        if not path.is_file():
            raise ValueError(f"there is no {path}; deepnets import deepnets1m_eval.hdf5 --root {path.parent} makes it")
    return files if settings.values is None else [settings.values]
