"""Generation of a split: parallel, resumable, and with the same content however the work is cut.

Workers compute shards of networks, and this process writes them.
"""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tqdm import tqdm

from deepnets.sampling.sampler import Networks, sample_networks
from deepnets.sampling.splits import SPACE_SPLITS, TRACED_SPLITS, check_split, split_rules
from deepnets.storage.column_reader import Columns
from deepnets.storage.network_file import network_columns
from deepnets.storage.sharded_file import BusyFileError, Shard, ShardedFile, ShardPlan
from deepnets.utils import executors
from deepnets.utils.atomic_files import check_writable
from deepnets.utils.errors import FileError, InputError, describe_write_error
from deepnets.utils.executors import Workers

Compute = Callable[[Shard], Columns]
"""Function of a worker, which returns the columns of a shard."""

SHARD_SIZE = 5000
"""Networks that a worker computes at a time, and the most that a kill loses for each worker."""

MAX_NETWORKS = 10**9

_POLL_SECONDS = 0.2


def split_path(root: str | os.PathLike[str], split: str, image_size: int = 32) -> Path:
    """Return the path of the file of a split; predefined networks have one file for each image size.

    >>> str(split_path("data", "train"))
    'data/deepnets1m_train.hdf5'
    """
    if split in SPACE_SPLITS:
        return Path(root).expanduser() / f"{split}.hdf5"
    size = "_224" if split == "predefined" and image_size == 224 else ""
    return Path(root).expanduser() / f"deepnets1m_{split}{size}.hdf5"


def published_size(split: str) -> int:
    """Return the number of networks of a split that is not traced."""
    if split in SPACE_SPLITS:
        from deepnets.datasets.space_splits import num_networks

        return num_networks(split)
    return split_rules(split).size


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

    >>> generate("data/deepnets1m_val.hdf5", "val")  # doctest: +SKIP

    Args:
        path: the file to write.
        split: train, val, test, wide, deep, dense, bnfree or search; torchvision74 or predefined, which are traced;
            nasbench101, nasbench201, nasbench301, nasbench_macro or timm, which are published ones.
        num: number of networks, by default that of the published split.
        seed: root seed; network i depends on (seed, split, i) only.
        workers: local processes, by default one per available core.
        scheduler: address of a Dask scheduler that runs the work instead of local processes.
        compress: compress the columns with gzip: the file is a seventh of the size and slower to read.
        overwrite: replace an existing file or a partial run with other settings.
        image_size: 32 (10 classes) or 224 (1000 classes) for the split predefined. Files of other splits serve both.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        InputError: an unknown split or a count below 1.
        FileError: the disk is full or the folder cannot be written.
    """
    try:
        path = Path(path).expanduser().resolve()
    except (OSError, RuntimeError):  # links in a circle
        raise FileError(f"{path} cannot be found: links lead in a circle") from None
    check_split(split)
    if split in TRACED_SPLITS:
        options = {"num": num, "seed": seed or None, "compress": compress or None, "workers": workers}
        _refuse_options(split, {**options, "scheduler": scheduler})
        return _trace_split(path, split, image_size, overwrite)
    if workers is not None:
        _check_range("workers", workers, 1, 4096)
    if split in SPACE_SPLITS:
        sharded_file, compute = _plan_space(path, split, num, seed, compress)
    else:
        sharded_file, compute = _plan_samples(path, split, num, seed, compress)
    sharded_file.check_new(overwrite)
    with sharded_file.locked(overwrite):
        with executors.start_workers(scheduler, workers, len(sharded_file.missing())) as pool:
            _write_shards(sharded_file, compute, pool)
        sharded_file.publish(overwrite)
    return path


def generate_missing(path: Path, split: str, num: int | None, overwrite: bool, image_size: int) -> None:
    """Generate a split, or wait for another process that does, as ranks of a training job that start together.

    Args:
        path, split, num, overwrite, image_size: as for `generate`.
    """
    waits = False
    while True:
        try:
            generate(path, split, num=num, overwrite=overwrite, image_size=image_size)
            return
        except BusyFileError:
            if not waits:
                print(f"another process is generating {path}; waiting for it")
            waits = True
        except (FileError, FileExistsError):  # the other one has just finished
            if overwrite or not path.exists():
                raise
            return
        time.sleep(_POLL_SECONDS)


def _plan_samples(path: Path, split: str, num: int | None, seed: int, compress: bool) -> tuple[ShardedFile, Compute]:
    """Return the file of a split of sampled networks, and what computes its shards."""
    num = published_size(split) if num is None else num
    _check_range("num", num, 1, MAX_NETWORKS)
    _check_range("seed", seed, 0, 2**63 - 1)
    return ShardedFile(path, ShardPlan(split, num, seed, compress, SHARD_SIZE)), partial(_shard, split, seed)


def _plan_space(path: Path, split: str, num: int | None, seed: int, compress: bool) -> tuple[ShardedFile, Compute]:
    """Return the file of a split of trained architectures, and what computes its shards."""
    from deepnets.datasets.space_splits import shard_size

    if seed:
        raise InputError(f"seed is {seed}, but the networks of {split} are published ones, which take no seed")
    size = published_size(split)
    num = size if num is None else num
    _check_range("num", num, 1, size)
    return ShardedFile(path, ShardPlan(split, num, 0, compress, shard_size(split))), partial(_space_shard, split)


def _refuse_options(split: str, options: Mapping[str, object]) -> None:
    """Raise InputError for an option that traced splits do not take."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} is {value}, but the split {split} is traced in one go and takes no {name}")


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
        raise InputError(f"{name} is {value}; it must be {low} or more")
    if value > high:
        raise InputError(f"{name} is {value}; it must be at most {high}")


def shard_columns(split: str, seed: int, start: int, stop: int) -> Columns:
    """Return the columns of networks start to stop; a worker calls this."""
    networks: Networks = sample_networks(split, start, stop, seed)
    return network_columns(networks, split_rules(split).max_steps)


def _write_shards(file: ShardedFile, compute: Compute, pool: Workers) -> None:
    """Compute the missing shards and write each when it is done."""
    plan = file.plan
    with tqdm(total=plan.num, initial=file.num_finished(), unit=" networks", desc=plan.split, smoothing=0.05) as bar:
        for shard, columns in pool.compute(compute, file.missing()):
            file.write(shard, columns)
            bar.update(shard.stop - shard.start)


def _shard(split: str, seed: int, shard: Shard) -> Columns:
    return shard_columns(split, seed, *shard)


def _space_shard(split: str, shard: Shard) -> Columns:
    from deepnets.datasets.space_splits import space_columns

    return space_columns(split, *shard)
