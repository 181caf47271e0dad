"""Compare runs on the same networks: means, average ranks, wins and losses, accuracy by size.

    python -m benchmarks.reporting.compare_runs results/RUN_1 results/RUN_2 results/RUN_3
    python -m benchmarks.reporting.compare_runs results/GHN results/RANDINIT --by cells --plot by_depth.png

The table has, for each run, the mean accuracy on each group of networks and on the evaluation splits but test (ood),
and the average rank over all networks (DeepNets paper, Table 5). Beside the last run, which is the baseline, it has the
share of networks that are better (wins), and the average gain and loss (GHN-3 paper, Table 4). With --by, accuracies
are averaged over networks of similar width, depth or size (DeepNets paper, Figure 10).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tyro
from tyro.conf import Positional

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, network_at
from benchmarks.published_results.per_network import compare
from benchmarks.records.record import Record, RecordError, read_rows
from benchmarks.records.record_files import find_record, read_record
from deepnets.utils.command_line import run_command

_KEYS = ["group", "index"]
_BINS = 6
By = Literal["channels", "cells", "nodes", "params"]


@dataclass(frozen=True)
class Options:
    """Compare finished runs.

    Args:
        folders: folders of the runs; the last one is the baseline of wins and losses.
        metric: top1 or top5.
        by: average accuracies over networks of similar width (channels), depth (cells) or size (nodes, params).
        plot: draw the averages of --by into this file.
    """

    folders: Positional[tuple[Path, ...]]
    metric: Literal["top1", "top5"] = "top1"
    by: By | None = None
    plot: Path | None = None


def accuracies(runs: Sequence[tuple[Record, bytes]], metric: str) -> pd.DataFrame:
    """Return accuracies in percent: a line for each network that all runs have, and a column for each run.

    Repetitions are averaged, and a network that failed has 0.

    Raises:
        RecordError: a run has no such metric, or the runs have no network in common.
    """
    columns = {}
    for record, table in runs:
        rows = read_rows(table)
        if metric not in rows:
            raise RecordError(f"{record['run_id']} has no {metric}")
        values = pd.to_numeric(rows[metric], errors="coerce").where(rows["status"] == "ok", 0.0)
        columns[record["run_id"]] = 100 * values.groupby([rows[name] for name in _KEYS]).mean()
    joined = pd.DataFrame(columns).dropna()
    if joined.empty:
        raise RecordError("the runs have no network in common")
    return joined


def summarize(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each run: means by group, of the splits out of distribution, average rank, and wins."""
    groups = scores.index.get_level_values("group")
    parts = {str(group): scores[groups == group].mean() for group in dict.fromkeys(groups)}
    ood = scores[groups.isin([split for split in EVALUATION_SPLITS if split != "test"])]
    if len(ood):
        parts["ood"] = ood.mean()
    table = pd.DataFrame({**parts, "rank": scores.rank(axis=1, ascending=False).mean()})
    baseline = scores.iloc[:, -1]
    others = {name: compare(scores[name], baseline) for name in scores.columns[:-1]}
    return table.join(pd.DataFrame.from_dict(others, orient="index"))


def by_size(scores: pd.DataFrame, by: By, image_size: int, num_classes: int) -> pd.DataFrame:
    """Return mean accuracies of networks of DeepNets-1M in bins of similar size, with the number of networks.

    Args:
        scores: as `accuracies` returns them.
        by: the size.
        image_size, num_classes: that the networks were built for.

    Raises:
        RecordError: there are no networks of DeepNets-1M.
    """
    keys = [(str(group), int(index)) for group, index in scores.index]
    sizes = pd.Series([_size(group, i, by, image_size, num_classes) for group, i in keys], scores.index).dropna()
    if sizes.empty:
        raise RecordError("there are no networks of DeepNets-1M, whose width and depth are known")
    bins = pd.qcut(sizes, min(_BINS, sizes.nunique()), duplicates="drop")
    known = scores.loc[sizes.index]
    groups = known.groupby(bins.to_numpy(), observed=True)
    return groups.mean().assign(networks=groups.size())


def _size(group: str, index: int, by: By, image_size: int, num_classes: int) -> float:
    network = network_at(group, index)
    architecture = network.architecture(image_size)
    if architecture is None:
        return float("nan")
    if by == "nodes":
        from deepnets.symbolic.builder import symbolic_graph

        return float(len(symbolic_graph(architecture, image_size, num_classes)))
    if by == "params":
        return float(architecture.num_params(image_size, num_classes))
    return float(architecture.channels if by == "channels" else architecture.n_cells)


def main() -> int:
    """Run the command and return its exit code, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    options = tyro.cli(Options, prog="python -m benchmarks.reporting.compare_runs", description=__doc__)
    if len(options.folders) < 2:
        raise RecordError("give the folders of two runs or more")
    runs = [read_record(find_record(folder)) for folder in options.folders]
    scores = accuracies(runs, options.metric)
    print(f"{len(scores)} networks, {options.metric} in percent; wins, gain and loss against {scores.columns[-1]}\n")
    print(summarize(scores).to_string(float_format="{:.2f}".format, na_rep=""))
    if options.by is not None:
        data = runs[0][0]["dataset"]
        sizes = by_size(scores, options.by, data["image_size"], data["classes"])
        print(f"\nby {options.by}\n{sizes.to_string(float_format='{:.2f}'.format)}")
        if options.plot is not None:
            _plot(sizes, options.by, options.metric, options.plot)
    return 0


def _plot(sizes: pd.DataFrame, by: str, metric: str, path: Path) -> None:
    from deepnets.utils.figures import new_figure, save_figure

    figure = new_figure(5, 3.5)
    axes = figure.subplots()
    places = np.arange(len(sizes))
    for name in sizes.columns.drop("networks"):
        axes.plot(places, sizes[name], "o-", ms=4, label=name)
    axes.set_xticks(places, [f"{bin.right:g}" for bin in sizes.index])
    axes.set(xlabel=f"{by}, up to", ylabel=f"{metric}, %")
    axes.legend(frameon=False, fontsize=6)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
