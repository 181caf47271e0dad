"""Speed of generation and of loading.

    python -m benchmarks.performance.dataset_speed

Makes a train file in a temporary folder, then reads it in every way that the data set offers. Rates are medians of
repeated runs on this machine; quote ratios measured side by side, since shared machines vary.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepnets.datasets.generation import generate, split_path
from deepnets.storage.column_reader import find_damaged_columns
from deepnets.utils.atomic_files import write_json
from deepnets.utils.command_line import command_line, run_command

if TYPE_CHECKING:
    from deepnets import DeepNets1M

REPEATS = 3


def rate(work: Callable[[], int]) -> float:
    """Call a function three times and return its median speed: the number that it returns, per second."""
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        count = work()
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def generation(folder: Path, num: int) -> Iterator[tuple[str, float]]:
    """Yield labels and values: networks per second in one process, and bytes per network."""
    for split, count in (("train", num), ("deep", num // 10), ("dense", num // 10)):

        def run(split: str = split, count: int = count) -> int:
            generate(split_path(folder, split), split, num=count, workers=1, overwrite=True)
            return count

        yield f"{split}: networks/s, 1 process", rate(run)
    path = split_path(folder, "train")
    yield "train: bytes/network", path.stat().st_size / num

    def verify() -> int:
        assert find_damaged_columns(path) == []
        return num

    yield "train: networks/s verified", rate(verify)
    small = generate(folder / "compressed.hdf5", "train", num=num, compress=True)
    yield "train: bytes/network, compressed", small.stat().st_size / num


def loading(folder: Path, num: int) -> Iterator[tuple[str, float]]:
    """Yield labels and values: graphs per second, read at random and in order, without and with virtual edges."""
    from torch_geometric.loader import DataLoader

    from deepnets import DeepNets1M, VirtualEdges

    order = np.random.default_rng(0).permutation(num).tolist()
    for label, transform, count in (("", None, num), (", virtual edges", VirtualEdges(), num // 4)):
        dataset = DeepNets1M(folder, "train", transform=transform)
        chosen, subset = order[:count], dataset[:count]
        yield f"dataset[i] at random{label}: graphs/s", rate(partial(one_by_one, dataset, chosen))
        yield f"64 at a time at random{label}: graphs/s", rate(partial(in_bulk, dataset, chosen))
        yield f"iteration{label}: graphs/s", rate(partial(iteration, subset))
        for workers in (0, 2):
            loader = DataLoader(subset, batch_size=256, shuffle=True, num_workers=workers)
            yield f"DataLoader, batches of 256, {workers} workers{label}: graphs/s", rate(partial(batches, loader))


def one_by_one(dataset: "DeepNets1M", indices: list[int]) -> int:
    """Read graphs by index."""
    for i in indices:
        dataset[i]
    return len(indices)


def in_bulk(dataset: "DeepNets1M", indices: list[int]) -> int:
    """Read 64 graphs with each call, as data loaders do."""
    for start in range(0, len(indices), 64):
        dataset.__getitems__(indices[start : start + 64])
    return len(indices)


def iteration(dataset: "DeepNets1M") -> int:
    """Read all graphs in order."""
    return sum(1 for _ in dataset)


def batches(loader: Any) -> int:
    """Read all graphs in batches."""
    return sum(batch.num_graphs for batch in loader)


def main() -> int:
    """Run the command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    """Print a table and, with --json, save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=20_000, help="networks in the file (default: 20000)")
    parser.add_argument("--json", type=Path, help="also save the figures here")
    options = parser.parse_args(command_line())
    if options.num < 1000:
        parser.error(f"--num is {options.num}; it must be 1000 or more for rates to mean anything")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in (generation, loading):
            for name, value in part(Path(folder), options.num):
                figures[name] = round(value, 1)
                print(f"{name:<64} {value:>12,.0f}", flush=True)
    if options.json:
        write_json(options.json, {"machine": platform.platform(), **figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())
