"""Generation of a split: parallel, resumable, the same content however the work is cut.

The networks are cut into shards, which workers compute and this process writes.
"""

import os
from functools import partial
from pathlib import Path

from tqdm import tqdm

from deepnets.sampling.sampler import Networks, sample_networks
from deepnets.sampling.splits import TRACED_SPLITS, check_split, split_rules
from deepnets.storage.column_reader import Columns
from deepnets.storage.network_file import network_columns
from deepnets.storage.sharded_file import PartialFile, Plan, Shard
from deepnets.utils import executors
from deepnets.utils.atomic_files import check_writable
from deepnets.utils.errors import describe_write_error
from deepnets.utils.executors import WorkerPool

SHARD_SIZE = 5000
"""Networks a worker computes at a time, and the most that a kill loses for each worker."""

MAX_NETWORKS = 10**9


def split_path(root: str | os.PathLike[str], split: str, image_size: int = 32) -> Path:
    """Where the file of a split lies in a folder of data; predefined networks have one for each image size."""
    size = "_224" if split == "predefined" and image_size == 224 else ""
    return Path(root).expanduser() / f"deepnets1m_{split}{size}.hdf5"


def generate(
    path: str | os.PathLike[str],
    split: str,
    num: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    scheduler: str | None = None,
    compress: bool = False,
    overwrite: bool = False,
    image_size: int = 32,
) -> Path:
    """Generate a split of DeepNets-1M into a file, with a progress bar.

    Args:
        path: the file to write.
        split: train, val, test, wide, deep, dense, bnfree or search; torchvision74 or predefined, which are traced.
        num: number of networks, by default that of the published split.
        seed: root seed; network i depends on (seed, split, i) only.
        workers: local processes, by default one per available core.
        scheduler: address of a Dask scheduler that runs the work instead of local processes.
        compress: gzip the columns: a seventh of the size, slower to read.
        overwrite: replace an existing file or a partial run with other settings.
        image_size: for the split predefined: 32 (10 classes) or 224 (1000 classes). Files of other splits serve both.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ValueError: an unknown split or a count below 1.
        FileError: the disk is full or the folder cannot be written.
    """
    path = Path(path).expanduser().resolve()
    check_split(split)
    if split in TRACED_SPLITS:
        given = {"num": num, "seed": seed or None, "compress": compress or None, "workers": workers}
        for name, value in {**given, "scheduler": scheduler}.items():
            if value is not None:
                raise ValueError(f"{name} is {value}, but the split {split} is traced in one go and takes no {name}")
        return _trace_split(path, split, image_size, overwrite)
    num = split_rules(split).size if num is None else num
    _check_range("num", num, 1, MAX_NETWORKS)
    _check_range("seed", seed, 0, 2**63 - 1)
    if workers is not None:
        _check_range("workers", workers, 1, 4096)
    partial_file = PartialFile(path, Plan(split, num, seed, compress, SHARD_SIZE))
    partial_file.check_new(overwrite)
    with partial_file.opened(overwrite):
        with executors.start_workers(scheduler, workers, len(partial_file.missing())) as pool:
            _compute(partial_file, pool)
        partial_file.merge(overwrite)
    return path


def _trace_split(path: Path, split: str, image_size: int, overwrite: bool) -> Path:
    check_writable(path, overwrite=overwrite)
    from deepnets.datasets.traced_splits import write_traced_split

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_traced_split(path, split, image_size, overwrite)
    except OSError as error:
        raise describe_write_error(error, path) from error
    return path


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if value < low:
        raise ValueError(f"{name} is {value}; it must be {low} or more")
    if value > high:
        raise ValueError(f"{name} is {value}; it must be at most {high}")


def shard_columns(split: str, seed: int, start: int, stop: int) -> Columns:
    """The columns of networks start to stop; what a worker does."""
    networks: Networks = sample_networks(split, start, stop, seed)
    return network_columns(networks, split_rules(split).max_steps)


def _compute(file: PartialFile, pool: WorkerPool) -> None:
    plan = file.plan
    compute = partial(_shard, plan.split, plan.seed)
    with tqdm(total=plan.num, initial=file.num_finished(), unit=" networks", desc=plan.split, smoothing=0.05) as bar:
        for shard, columns in pool.compute(compute, file.missing()):
            file.write(shard, columns)
            bar.update(shard[1] - shard[0])


def _shard(split: str, seed: int, shard: Shard) -> Columns:
    return shard_columns(split, seed, *shard)
