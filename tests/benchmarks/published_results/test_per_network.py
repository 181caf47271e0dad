"""Published numbers, recomputed from the results of single networks.

`data/published_numbers.csv` has the numbers that the papers print and that follow from their result files.
"""

import csv
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from benchmarks.core.rank_correlation import _resampled, correlations, kendall
from benchmarks.published_results.paper_tables import paper_tables
from benchmarks.published_results.per_network import accuracy, by_split, compare, load, query, values
from tests.support.paths import DATA

_FILE = DATA / "published_numbers.csv"
NUMBERS = list(csv.DictReader(_FILE.read_text().splitlines()[1:]))
_SPLITS = {"ResNet-50": ("predefined", 0), "ViT": ("predefined", 1)}


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    """Return the groups of a pattern that matches the whole text."""
    match = re.fullmatch(pattern, text)
    assert match, text
    return match.groups()


def _networks(dataset: str, method: str) -> pd.Series:
    """Test accuracies of a row of Tables 3 and 4 of the DeepNets paper."""
    trained = re.fullmatch(r"SGD (\d+) (ep|steps)", method)
    if trained and trained[2] == "steps":
        return accuracy(dataset, "RANDINIT", protocol="sgd_1ep")
    if trained:
        return accuracy("cifar10_epochs", "RANDINIT", epoch=int(trained[1]))
    method = {"No GatedGNN (MLP)": "MLP"}.get(method, method)
    return accuracy(dataset, method, protocol="no_finetune")


def _tables_3_4_5(number: dict[str, str]) -> float:
    method, group = number["item"].split(" / ")
    scores = _networks("imagenet" if number["table"] == "4" else "cifar10", method)
    if group in _SPLITS:
        return float(scores[_SPLITS[group]])
    return float(by_split(scores).loc["ood" if group.startswith("OOD") else group, number["quantity"]])


def _table_1(number: dict[str, str]) -> float:
    group = number["item"].split(", ")[1]
    params = values("cifar10", "params") / 1e6
    if group in _SPLITS:
        return float(params[_SPLITS[group]])
    part = params[params.index.get_level_values("split").isin(group.split("+"))]
    return float({"min": part.min(), "max": part.max()}[number["quantity"]])


def _figure_11(number: dict[str, str]) -> float:
    columns = {
        "CIFAR-10 clean": ("cifar10", "val_top1", "sgd_50ep"),
        "CIFAR-10 corrupted": ("cifar10", "val_top1_noise", "sgd_50ep"),
        "ImageNet clean": ("imagenet", "val_top5", "sgd_1ep"),
        "ImageNet corrupted": ("imagenet", "val_top5_noise", "sgd_1ep"),
    }
    first, second = number["item"].split(", ")[0].split(" vs ")
    second = second if second in columns else f"{first.split()[0]} {second}"
    pair = [values(d, column, "RANDINIT", protocol=p).round() for d, column, p in (columns[first], columns[second])]
    both = pd.concat(pair, axis=1, join="inner").dropna()
    both = both[both.index.get_level_values("split").isin(["val", "test"])]
    assert len(both) == 1000
    return kendall(*both.to_numpy().T)


def _best(number: dict[str, str]) -> float:
    method, dataset = number["item"].split()[:2]
    return float(accuracy({"CIFAR-10": "cifar10", "ImageNet": "imagenet"}[dataset], method)["test"].idxmax())


def _pytorch74(text: str) -> pd.Series:
    """A column of Table 20 of the GHN-3 paper."""
    method, protocol = _groups(r"(\S+)[ +](\S+)", text.replace("SGD-1EP", "sgd_1ep"))
    return accuracy(
        "torchvision74", {"GHN-3": "GHN-3-XL/m16", "SOTA": "RANDINIT"}.get(method, method), protocol=protocol
    )


def _table_20(number: dict[str, str]) -> float:
    item = number["item"]
    if item.startswith("AVG"):
        return float(by_split(_pytorch74(item[4:])).loc["pytorch74", number["quantity"]])
    if item.startswith("Kendall"):
        first, second = item.split(": ")[1].split(" vs ")
        return float(correlations(_pytorch74(first), _pytorch74(second), samples=10).loc["pytorch74", "tau"])
    printed = paper_tables()
    printed = printed[
        (printed["source"] == "ghn3_2023") & (printed["table"] == "20") & (printed["metric"] == "top1_acc")
    ]
    equal = 0
    for line in printed.itertuples():
        results = load("torchvision74")
        method = line.model if isinstance(line.model, str) else "RANDINIT"
        here = results[
            (results["arch"] == line.split_or_arch.lower().replace("-", "_")) & (results["method"] == method)
        ]
        equal += round(float(here[here["protocol"] == line.protocol]["top1"].iloc[0]) + 1e-9, 2) == line.value
    return equal


def _table_19(number: dict[str, str]) -> float:
    score, truth = re.split(" vs |, ", number["item"])[:2]
    if "900" in number["item"]:
        pooled = correlations(accuracy("imagenet", "GHN-2"), accuracy("imagenet", "RANDINIT"), samples=10)
        assert pooled.loc["all", "n"] == 900
        return float(pooled.loc["all", "tau"])
    target = _pytorch74("RANDINIT sota" if truth == "SOTA" else "RANDINIT sgd_1ep")
    if score == "GRADNORM":
        scores = values("torchvision74", "init_grad_norm", "RANDINIT", protocol="no_finetune")
    else:
        scores = _pytorch74("RANDINIT sgd_1ep" if score.startswith("RANDINIT") else f"{score} no_finetune")
    return float(correlations(scores, target, samples=10).loc["pytorch74", "tau"])


def _table_12(number: dict[str, str]) -> float:
    scores = _pytorch74(number["item"].removesuffix(" pytorch74"))
    return float(by_split(scores).loc["pytorch74", number["quantity"]])


def _table_2(number: dict[str, str]) -> float:
    column, ranking = _groups(r"(.*) pytorch-top10 \(top-10 by (.*)\)", number["item"])
    scores = _pytorch74("RANDINIT sota" if column == "SOTA" else column.replace("GHN-2/m8", "GHN-2"))
    assert ranking in (column, column.split()[-1])
    return float(by_split(scores.nlargest(10)).loc["pytorch74", number["quantity"]])


def _table_4(number: dict[str, str]) -> float:
    method, protocol, quantity = _groups(r"(\S+) (\S+) (wins|avg gain|avg loss).*", number["item"])
    return compare(_pytorch74(f"{method} {protocol}"), _pytorch74("RANDINIT sgd_1ep"))[quantity.removeprefix("avg ")]


_RECOMPUTE: dict[tuple[str, str], Callable[[dict[str, str]], float]] = {
    ("ppuda2021", "1"): _table_1,
    ("ppuda2021", "3"): _tables_3_4_5,
    ("ppuda2021", "4"): _tables_3_4_5,
    ("ppuda2021", "5"): _tables_3_4_5,
    ("ppuda2021", "Fig 11"): _figure_11,
    ("ppuda README", "checkpoints"): _best,
    ("ghn3_2023", "2"): _table_2,
    ("ghn3_2023", "4"): _table_4,
    ("ghn3_2023", "12"): _table_12,
    ("ghn3_2023", "19"): _table_19,
    ("ghn3_2023", "20"): _table_20,
}


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{n['source']}-{n['table']}-{n['item']}-{n['quantity']}")
def test_published_numbers_are_recomputed(number: dict[str, str]) -> None:
    digits = len(number["published"].partition(".")[2])
    recomputed = _RECOMPUTE[number["source"], number["table"]](number)
    assert abs(recomputed - float(number["published"])) <= 0.5 * 10**-digits + 1e-9


def test_queries() -> None:
    table = query("test", 210)
    assert table.loc[table["method"] == "GHN-2", "test_top1"].iloc[0] == pytest.approx(77.1, abs=0.05)
    assert query("pytorch74", 0, "torchvision74")["arch"].unique().tolist() == ["alexnet"]
    with pytest.raises(ValueError, match="no results of test 500 in cifar10; accepted: val 0 to 499, test 0 to 499"):
        query("test", 500)
    with pytest.raises(ValueError, match="no published results 'mnist'; accepted: cifar10"):
        load("mnist")
    with pytest.raises(ValueError, match="cifar10 has no column 'top1'"):
        values("cifar10", "top1")
    with pytest.raises(ValueError, match=r"cifar10 has no method 'GHN-3' here; accepted: RANDINIT, GHN-1"):
        values("cifar10", "test_top1", "GHN-3")
    changed = load("cifar10")
    changed["params"] = 0
    assert load("cifar10")["params"].min() > 0


def test_intervals_cover_the_truth() -> None:
    """Scores with a known rank correlation: tau = 2/pi arcsin(rho) for normal pairs."""
    rho, covered = 0.5, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(60)
        y = rho * x + (1 - rho**2) ** 0.5 * rng.standard_normal(60)
        index = pd.MultiIndex.from_product([["test"], range(60)])
        line = correlations(pd.Series(x, index), pd.Series(y, index), samples=200).loc["test"]
        assert line["tau"] == kendalltau(x, y).statistic
        covered += line["low"] <= 2 / np.pi * np.arcsin(rho) <= line["high"]
    assert covered >= 34


def test_correlations_pool_and_drop() -> None:
    index = pd.MultiIndex.from_product([["test", "wide", "val"], range(10)], names=["split", "arch_index"])
    scores = pd.Series(np.r_[np.arange(10), 100 + np.arange(10), -np.arange(10)], index, dtype=float)
    truth = pd.Series(np.r_[-np.arange(10), 100 - np.arange(10), -np.arange(10)], index, dtype=float)
    truth.iloc[3] = np.nan
    table = correlations(scores, truth, samples=50)
    assert table["tau"].round(6).to_dict() == {"test": -1, "wide": -1, "val": 1, "all": pytest.approx(0.0526, abs=0.1)}
    assert table["n"].to_dict() == {"test": 9, "wide": 10, "val": 10, "all": 19}
    assert np.isnan(kendall(np.ones(5), np.arange(5.0)))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12), st.integers(0, 99))
def test_resampled_correlations_are_those_of_scipy(pairs: list[tuple[int, int]], seed: int) -> None:
    values = np.array(pairs, float)
    draws = np.random.default_rng(seed).integers(len(values), size=(5, len(values)))
    expected = [kendalltau(*values[rows].T).statistic for rows in draws]
    np.testing.assert_allclose(_resampled(values, draws), expected, rtol=1e-6, atol=1e-9)
