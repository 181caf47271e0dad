"""Properties of networks: published results, a table of the user, or a measurement on this computer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from benchmarks.core.evaluation_networks import network_at
from benchmarks.published_results import per_network as published
from benchmarks.scoring.operation_count import count_operations
from benchmarks.scoring.scorers import read_csv
from benchmarks.studies.parts.embeddings import columns_graphs
from deepnets import ArchGraph
from deepnets.datasets.generation import split_path
from deepnets.networks.skip_init import on_meta_without_init
from deepnets.storage.network_file import NetworkFile
from deepnets.symbolic.builder import count_parameters
from deepnets.utils.atomic_files import atomic_write
from deepnets.utils.errors import InputError

INDEX_COLUMNS = ["split", "index"]
FITTED, TESTED = "val", "test"
_TIMED = 3  # passes, of which the fastest counts
_STORED_EVERY = 50
_NOT_PROPERTIES = ("repeat", "params", "batch_size")


@dataclass(frozen=True)
class PublishedDataset:
    """A published data set.

    Args:
        image_size, num_classes: image size and number of classes of its networks.
        accuracy, protocol: column of the accuracy in the published results, and how networks were trained.
    """

    image_size: int
    num_classes: int
    accuracy: str
    protocol: str


PUBLISHED = {
    "cifar10": PublishedDataset(32, 10, "val_top1", "sgd_50ep"),
    "imagenet": PublishedDataset(224, 1000, "val_top5", "sgd_1ep"),
}
"""Published data sets by their name in `benchmarks.published_results.per_network`."""


def published_values(dataset: str) -> pd.DataFrame:
    """Return the four properties of the published networks trained with SGD (DeepNets paper, section C.2.3).

    They are: accuracy on held-out images in percent, clean (`accuracy`) and with Gaussian noise (`accuracy_noise`);
    `inference_time`, GPU seconds for the whole evaluation set; and `convergence_time`, as a share of the training run.
    """
    about = PUBLISHED[dataset]
    columns = {
        "accuracy": about.accuracy,
        "accuracy_noise": f"{about.accuracy}_noise",
        "inference_time": "inference_time_s",
        "convergence_time": "converge_time",
    }
    values = {
        name: published.values(dataset, column, "RANDINIT", protocol=about.protocol) for name, column in columns.items()
    }
    return pd.DataFrame(values).rename_axis(INDEX_COLUMNS).loc[[FITTED, TESTED]]


def published_graphs(folder: Path, split: str, dataset: str) -> list[ArchGraph]:
    """Return the graphs of a split of the published networks, from the file that `deepnets import` writes.

    Raises:
        FileError: the file is missing or damaged.
        InputError: parameter counts show that its networks are not the published ones.
    """
    path, about = split_path(folder, split), PUBLISHED[dataset]
    file = NetworkFile(path, about.image_size, about.num_classes)
    everything = slice(0, len(file))
    known = published.load("cifar10").query("split == @split").drop_duplicates("arch_index")["params"].to_numpy()
    small = NetworkFile(path).table(everything)
    equal = np.isin(count_parameters(small, 32, 10), known).mean() if len(file) == len(known) else 0.0
    if equal < 0.9:
        raise InputError(
            f"{path} has other networks than the published ones of {split}, for which alone there are values; "
            "import deepnets1m_eval.hdf5, or give values of your own (--properties.values)"
        )
    return columns_graphs(file.table(everything), file.graphs(everything), about.image_size, about.num_classes)


def read_values(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read properties from a CSV file with columns split (or group), index, and one for each property.

    The table beside the record of a run, RUN_ID.csv.gz, is such a file; repetitions are averaged.

    Args:
        path: the file.
        columns: properties to use; by default all columns of numbers.

    Raises:
        InputError: the file cannot be read, or lacks a column or networks of val or test.
    """
    table = read_csv(path).rename(columns={"group": "split"})
    if table.empty:
        raise InputError(f"{path} has no rows")
    numbers = [name for name in table.select_dtypes("number") if name not in (*INDEX_COLUMNS, *_NOT_PROPERTIES)]
    properties = list(columns) or numbers
    _check_columns(path, table, properties)
    if not properties:
        raise InputError(f"{path} has no column of a property; accepted: split, index, and one for each property")
    rows = table["split"].isin([FITTED, TESTED])
    if not (table.loc[rows, "index"] % 1 == 0).all():
        raise InputError(f"the column 'index' of {path} has other values than whole numbers")
    counts = table["split"].value_counts()
    for split in (FITTED, TESTED):
        if split not in counts:
            raise InputError(f"{path} has no networks of {split}; values of {FITTED} and {TESTED} are needed")
    return table[rows].astype({"index": int}).groupby(INDEX_COLUMNS, sort=True)[properties].mean()


def _check_columns(path: Path, table: pd.DataFrame, properties: Sequence[str]) -> None:
    """Raise InputError if a column is missing, or has other values than finite numbers."""
    for name in (*INDEX_COLUMNS, *properties):
        if name not in table:
            raise InputError(f"{path} has no column {name!r}; it has {', '.join(map(str, table))}")
    for name in ("index", *properties):
        if name not in table.select_dtypes("number"):
            raise InputError(f"the column {name!r} of {path} has other values than numbers")
        if np.isinf(table[name]).any():
            raise InputError(f"the column {name!r} of {path} has infinite values; accepted: numbers")


def measured_values(path: Path, num: int, image_size: int) -> pd.DataFrame:
    """Measure inference time and operations of generated networks.

    `inference_time` is CPU seconds for one image on one thread, the fastest of three passes; it varies a little between
    runs, and hardly with other load on the computer. `flops` is operations for one image. Results are kept in the file,
    and a later call continues from there.

    Args:
        path: the file.
        num: number of networks of val, and of test.
        image_size: 32 or 224.
    """
    jobs = [(split, index) for split in (FITTED, TESTED) for index in range(num)]
    rows: dict[tuple[str, int], dict[str, float]] = {}
    if path.exists():
        rows = {(row.pop("split"), row.pop("index")): row for row in pd.read_csv(path).to_dict("records")}
    missing = [job for job in jobs if job not in rows]
    for count, (split, index) in enumerate(tqdm(missing, desc="inference", unit=" networks"), 1):
        rows[split, index] = _measure(split, index, image_size)
        if count % _STORED_EVERY == 0 or count == len(missing):
            known = [job for job in jobs if job in rows]
            table = pd.DataFrame([rows[job] for job in known], pd.MultiIndex.from_tuples(known, names=INDEX_COLUMNS))
            atomic_write(path, table.to_csv(lineterminator="\n"))
    return pd.read_csv(path).set_index(INDEX_COLUMNS).loc[jobs]


@torch.inference_mode()
def _measure(split: str, index: int, image_size: int) -> dict[str, float]:
    with on_meta_without_init():
        model, _ = network_at(split, index).build(image_size, 10)
        flops = count_operations(model.eval(), torch.empty(1, 3, image_size, image_size))
    model = model.to_empty(device="cpu").eval()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.fill_(1e-2 if tensor.is_floating_point() else 0)  # time does not depend on ordinary numbers
    seconds = _seconds(model, torch.ones(1, 3, image_size, image_size))
    return {"inference_time": seconds, "flops": flops}


def _seconds(model: nn.Module, images: torch.Tensor) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model(images)  # the first pass pays for memory
        return min(_timed(lambda: model(images)) for _ in range(_TIMED))
    finally:
        torch.set_num_threads(threads)


def _timed(call: Callable[[], object]) -> float:
    start = process_time()
    call()
    return process_time() - start
