"""Draw figures of the papers from published results, without any measurement.

    python -m benchmarks.published_results.figures ghn3_4 --out figure_4.png
    python -m benchmarks.published_results.figures ghn2_11 --out figure_11.png
    python -m benchmarks.published_results.figures ghn3_1 --out figure_1.png
    python -m benchmarks.published_results.figures ghn2_6fg --networks-from published --out figure_6fg.png

ghn3_4   GHN-3 paper, Figure 4: accuracies of PyTorch-74 after 1 epoch, from GHN-3 and from random parameters
ghn3_1   GHN-3 paper, Figures 1 and 3: accuracy of the ten best networks against the size of the GHN
ghn2_11  DeepNets paper, Figure 11: Kendall's tau between properties, and between data sets
ghn2_6fg DeepNets paper, Figures 6 f and g: validation error against path length and degree of the published networks
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro
from matplotlib.figure import Figure
from tyro.conf import Positional

from benchmarks.core.evaluation_networks import network_at, open_split
from benchmarks.published_results.per_network import load, values
from benchmarks.published_results.truths import check_is_published
from deepnets.utils.command_line import run_command
from deepnets.utils.errors import InputError
from deepnets.utils.figures import new_figure, save_figure

_GHN3_SIZES = {"GHN-3-T/m8": 6.9, "GHN-3-S/m8": 35.8, "GHN-3-L/m8": 214.7, "GHN-3-XL/m8": 654.4}
"""Millions of parameters (GHN-3 paper, Table 1)."""
_PROPERTIES = {"accuracy": "{}", "noise": "{}_noise", "time": "inference_time_s", "convergence": "converge_time"}
_SPLITS = ("val", "test")


@dataclass(frozen=True)
class Options:
    """Draw a published figure.

    Args:
        name: ghn3_4, ghn3_1, ghn2_11 or ghn2_6fg.
        out: the picture.
        networks_from: folder of the imported published networks, for ghn2_6fg.
    """

    name: Positional[Literal["ghn3_4", "ghn3_1", "ghn2_11", "ghn2_6fg"]]
    out: Path = Path("figure.png")
    networks_from: Path | None = None


def property_correlations() -> pd.DataFrame:
    """Return Kendall's tau between the four properties on both data sets, over networks of val and test."""
    columns = {}
    for dataset, accuracy, protocol in (("cifar10", "val_top1", "sgd_50ep"), ("imagenet", "val_top5", "sgd_1ep")):
        for name, column in _PROPERTIES.items():
            known = values(dataset, column.format(accuracy), "RANDINIT", protocol=protocol)
            columns[f"{dataset} {name}"] = known.loc[list(_SPLITS)]
    return pd.DataFrame(columns).corr(method="kendall")


def _correlations(options: Options) -> Figure:
    table = property_correlations()
    figure = new_figure(6, 5)
    axes = figure.subplots()
    axes.imshow(table, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(table)), list(table), rotation=90)
    axes.set_yticks(range(len(table)), list(table))
    for row in range(len(table)):
        for column in range(len(table)):
            axes.text(column, row, f"{table.iloc[row, column]:.2f}", ha="center", va="center", fontsize=7)
    print(table.to_string(float_format="{:.2f}".format))
    return figure


def _pytorch(options: Options) -> Figure:
    table = load("torchvision74")
    after = table[table["protocol"] == "sgd_1ep"].pivot_table(index="arch", columns="method", values="top1")
    ordered = after.sort_values("GHN-3-XL/m16", ascending=False)
    figure = new_figure(12, 4)
    axes = figure.subplots()
    for place, method in enumerate(("RANDINIT", "GHN-3-XL/m16")):
        axes.bar([x + 0.4 * place for x in range(len(ordered))], ordered[method], width=0.4, label=method)
    axes.set_xticks(range(len(ordered)), list(ordered.index), rotation=90, fontsize=6)
    axes.set_ylabel("ImageNet top-1 after 1 epoch, %")
    axes.legend(frameon=False)
    return figure


def _sizes(options: Options) -> Figure:
    from benchmarks.published_results.paper_tables import paper_tables

    table = paper_tables()
    printed = table[(table["source"] == "ghn3_2023") & (table["table"] == "2")]
    figure = new_figure(5, 3.6)
    axes = figure.subplots()
    for protocol, part in printed[printed["split_or_arch"] == "pytorch-top10"].groupby("protocol"):
        known = part[part["init_method"].isin(list(_GHN3_SIZES))]
        if len(known):
            axes.plot(known["init_method"].map(_GHN3_SIZES), known["value"], "o-", label=protocol)
    axes.set(xscale="log", xlabel="parameters of the GHN, millions", ylabel="top-1 of PyTorch-10, %")
    axes.legend(frameon=False)
    return figure


def _paths_and_degrees(options: Options) -> Figure:
    from deepnets.analysis.statistics import average_degrees, average_path_lengths

    if options.networks_from is None:
        raise InputError("ghn2_6fg needs the published networks (--networks-from FOLDER, after deepnets import)")
    error = 100 - values("cifar10", "val_top1", "RANDINIT", protocol="sgd_50ep")
    figure = new_figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    for split in _SPLITS:
        check_is_published("cifar10_sgd_50ep", network_at(split, 0, str(options.networks_from)))
        file = open_split(str(options.networks_from), split, 32)
        known = error.loc[split].reindex(range(len(file)))
        left.scatter(average_path_lengths(file.graphs(slice(0, len(file)))), known, s=5, label=split)
        right.scatter(average_degrees(file), known, s=5, label=split)
    left.set(xlabel="average path length", ylabel="validation error, %")
    right.set(xlabel="average degree")
    left.legend(frameon=False)
    return figure


_FIGURES: dict[str, Callable[[Options], Figure]] = {
    "ghn3_4": _pytorch,
    "ghn3_1": _sizes,
    "ghn2_11": _correlations,
    "ghn2_6fg": _paths_and_degrees,
}


def main() -> int:
    """Run the command and return its exit code, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    options = tyro.cli(Options, prog="python -m benchmarks.published_results.figures", description=__doc__)
    save_figure(_FIGURES[options.name](options), options.out)
    print(f"{options.name}: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
