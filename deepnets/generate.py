"""Generation of a split: parallel, resumable, the same content however the work is cut.

The networks are cut into shards. A shard is computed by a worker, written by this process under its final name only
when complete, and then listed in a manifest; at the end the shards are merged into the file. All of that happens in
the folder `<file>.partial`, which a later run with the same settings continues and a finished run removes.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

import deepnets
from deepnets import executors
from deepnets.executors import Workers
from deepnets.files import Locked, append_line, exclusive, replace_content
from deepnets.network_file import network_columns
from deepnets.sampling import TRACED, Networks, check_split, sample_networks, split_rules
from deepnets.storage import (
    FORMAT_VERSION,
    ColumnFile,
    Columns,
    FileError,
    damaged_columns,
    describe_write_error,
    merge,
    publish,
    write_columns,
)

SHARD_SIZE = 5000
"""Networks a worker computes at a time, and the most that a kill loses for each worker."""

MAX_NETWORKS = 10**9


@dataclass(frozen=True)
class Plan:
    """What a file is to contain; a partial run is continued by an equal plan only."""

    split: str
    num: int
    seed: int
    compress: bool
    shard_size: int
    format_version: int = FORMAT_VERSION
    toolkit_version: str = deepnets.__version__

    def shards(self) -> list[tuple[int, int]]:
        """Ranges of network indices."""
        return [(i, min(i + self.shard_size, self.num)) for i in range(0, self.num, self.shard_size)]


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
    if split in TRACED:
        given = {"num": num, "seed": seed or None, "compress": compress or None, "workers": workers}
        for name, value in {**given, "scheduler": scheduler}.items():
            if value is not None:
                raise ValueError(f"{name} is {value}, but the split {split} always has the same networks")
        return _trace_split(path, split, image_size, overwrite)
    num = split_rules(split).size if num is None else num
    _check_range("num", num, 1, MAX_NETWORKS)
    _check_range("seed", seed, 0, 2**63 - 1)
    if workers is not None:
        _check_range("workers", workers, 1, 4096)
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder")
    plan = Plan(split, num, seed, compress, SHARD_SIZE)
    if path.exists() and not overwrite:
        _PartialRun(path, plan).remove_if_published()
        raise FileExistsError(f"{path} exists already; give another path or ask to overwrite it (--overwrite)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _PartialRun.open(path, plan, overwrite) as run:
            missing = [shard for shard in plan.shards() if shard not in run.finished]
            with executors.workers(scheduler, workers, len(missing)) as those:
                _compute(run, plan, missing, those)
            run.merge(overwrite)
    except OSError as error:
        raise describe_write_error(error, path) from error
    return path


def _trace_split(path: Path, split: str, image_size: int, overwrite: bool) -> Path:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; give another path or ask to overwrite it (--overwrite)")
    from deepnets.torchvision74 import write_traced_split

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
    rules = split_rules(split)
    return network_columns(networks, max(rules.steps[1], rules.deep_steps[1]))


def _compute(run: "_PartialRun", plan: Plan, missing: list[tuple[int, int]], those: Workers) -> None:
    done = plan.num - sum(stop - start for start, stop in missing)
    compute = partial(_shard, plan.split, plan.seed)
    with tqdm(total=plan.num, initial=done, unit=" networks", desc=plan.split, smoothing=0.05) as bar:
        for shard, columns in those.compute(compute, missing):
            run.write(shard, columns)
            bar.update(shard[1] - shard[0])


def _shard(split: str, seed: int, shard: tuple[int, int]) -> Columns:
    return shard_columns(split, seed, *shard)


class _PartialRun:
    """The folder with the shards of an unfinished file."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.folder = path.with_name(path.name + ".partial")
        self.manifest = self.folder / "manifest.jsonl"
        self.finished: dict[tuple[int, int], Path] = {}

    @classmethod
    @contextmanager
    def open(cls, path: Path, plan: Plan, overwrite: bool) -> Iterator["_PartialRun"]:
        """Start or continue a run; no other process can work on it meanwhile."""
        run = cls(path, plan)
        run.folder.mkdir(exist_ok=True)
        try:
            with exclusive(run.folder / "lock"):
                run._check_plan(overwrite)
                run._read_manifest()
                yield run
        except Locked:
            raise FileError(f"another process is generating {path}; wait for it or choose another path") from None

    def _check_plan(self, overwrite: bool) -> None:
        recorded = self.folder / "plan.json"
        wanted = asdict(self.plan)
        if recorded.exists():
            found = _read_json(recorded)
            if found == wanted:
                return
            if not found:
                overwrite = True  # torn by a kill while it was written, before any shard
            different = [f"{k}={found.get(k)!r} instead of {v!r}" for k, v in wanted.items() if found.get(k) != v]
            if not overwrite:
                raise FileError(
                    f"{self.folder} holds an unfinished run with {', '.join(different)}; "
                    "continue it with its own settings, delete it, or ask to overwrite it (--overwrite)"
                )
        for old in [*self.folder.glob("*.hdf5"), self.manifest]:
            old.unlink(missing_ok=True)
        replace_content(recorded, json.dumps(wanted))

    def _read_manifest(self) -> None:
        """Shards that the manifest lists and that can be opened; a line cut off by a kill is ignored."""
        for temporary in self.folder.glob(".*.tmp"):
            temporary.unlink()
        lines = self.manifest.read_text(errors="replace").splitlines() if self.manifest.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
                shard = (int(entry["start"]), int(entry["stop"]))
                file = ColumnFile(self._shard_path(shard))
            except (ValueError, KeyError, TypeError):
                continue
            if file.header.content_sha256 == entry["content_sha256"]:
                self.finished[shard] = file.path

    def _shard_path(self, shard: tuple[int, int]) -> Path:
        return self.folder / f"{shard[0]:09d}-{shard[1]:09d}.hdf5"

    def write(self, shard: tuple[int, int], columns: Columns) -> None:
        """Write a shard, then list it."""
        path = self._shard_path(shard)
        path.unlink(missing_ok=True)  # written, but not listed, before a kill
        content = write_columns(path, self.plan.split, self.plan.seed, self.plan.toolkit_version, columns)
        append_line(self.manifest, {"start": shard[0], "stop": shard[1], "content_sha256": content})
        self.finished[shard] = path

    def merge(self, overwrite: bool) -> None:
        """Make the file from all shards and remove the folder.

        Raises:
            FileError: a shard is damaged; it is removed, so that it is computed again the next time.
        """
        parts = [self.finished[shard] for shard in self.plan.shards()]
        whole = self.folder / "whole.hdf5"
        whole.unlink(missing_ok=True)
        try:
            merge(whole, parts, self.plan.compress)
        except FileError as error:
            damaged = [part for part in parts if damaged_columns(part)]
            for part in damaged:
                part.unlink()
            advice = "; give the same command again, which makes it anew" if damaged else ""
            raise FileError(f"{error}{advice}") from None
        publish(whole, self.path, overwrite)
        shutil.rmtree(self.folder)

    def remove_if_published(self) -> None:
        """Remove the folder of a run that was killed between naming its file and tidying up."""
        recorded = _read_json(self.folder / "plan.json")
        header = ColumnFile(self.path).header if recorded else None
        if header and (header.split, header.num_networks, header.seed) == tuple(
            recorded.get(name) for name in ("split", "num", "seed")
        ):
            shutil.rmtree(self.folder, ignore_errors=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
