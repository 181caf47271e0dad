"""Verification of records: some of their networks are evaluated again, and the results are compared."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.core.model_names import (
    PRETRAINED_PREFIX,
    PRETRAINED_RECORD_PREFIX,
    TRAINED_PREFIX,
    TRAINED_RECORD_PREFIX,
    is_trained,
)
from benchmarks.core.protocol import Protocol
from benchmarks.execution import memory
from benchmarks.execution.jobs import evaluate
from benchmarks.execution.run_config import Job, RunConfig
from benchmarks.execution.run_context import RunContext, load_run_context
from benchmarks.initializers.ghn import ORTH_SUFFIX
from benchmarks.protocols.nas import is_truth_file
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, RecordError, networks_from, read_rows, record_jobs
from benchmarks.scoring.scorers import SCORE_FILE_PREFIX, by_accuracy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LocalInputs:
    """Inputs of a record on this computer.

    Args:
        weights: the model if it is not shipped: checkpoint folder of a GHN, trained weights, or CSV file of scores.
        truth: CSV file of the truth, for records that were measured with one.
        data_dir: folder of the images.
        device: cpu, cuda or cuda:N.
        networks: folder of files, for records whose networks were read from files.
    """

    weights: Path | None = None
    truth: Path | None = None
    data_dir: Path | None = None
    device: str = "cpu"
    networks: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """The recorded and the new result of one network.

    Args:
        name: the network.
        recorded, measured: both results as text.
        differences: new minus recorded value of each compared column; 1 if the network failed in only one of the two.
        tolerance: largest difference that counts as agreement.
    """

    name: str
    recorded: str
    measured: str
    differences: list[float]
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether all differences are within the tolerance."""
        return max(map(abs, self.differences)) <= self.tolerance


def context_of_record(record: Record, inputs: LocalInputs) -> RunContext:
    """Load protocol, model and data of a record, to evaluate its networks again.

    Raises:
        RecordError: weights, truth or images are missing, or are not those of the record.
    """
    protocol = PROTOCOLS[record["protocol"]["name"]]
    config = RunConfig(
        protocol=protocol.name,
        settings=_settings(protocol, record, inputs.truth),
        model=_model(record["model"]["name"], inputs.weights),
        dataset=record["dataset"]["name"],
        groups=tuple(record["networks"]),
        data_dir=None if inputs.data_dir is None else str(inputs.data_dir),
        image_size=record["dataset"]["image_size"],
        seed=record["seed"],
        repeats=record["repeats"],
        orth_layer=record["model"]["orth_layer"],
        device=inputs.device,
        networks_from=_networks_folder(record, inputs.networks),
    )
    if config.networks_from is not None and networks_from(config) != record["networks_from"]:
        raise RecordError(f"the networks at hand are not those of {record['run_id']}")
    context = load_run_context(config)
    if context.initializer.weights_sha256 != record["model"]["weights_sha256"]:
        raise RecordError(f"the weights at hand have another sha256 than those of {record['run_id']}")
    if context.task.hashes() != record["dataset"]["sha256"]:
        raise RecordError(f"the images at hand have other sha256 than those of {record['run_id']}")
    return context


def _networks_folder(record: Record, networks: Path | None) -> str | None:
    if ("networks_from" in record) == (networks is not None):
        return None if networks is None else str(networks)
    if networks is None:
        raise RecordError(f"its networks are files of {record['networks_from']['source']}; give --networks-from")
    raise RecordError(f"{record['run_id']} has sampled networks, so --networks-from is of no use")


def _model(name: str, weights: Path | None) -> str:
    if weights is not None:
        prefix = PRETRAINED_PREFIX * name.startswith(PRETRAINED_RECORD_PREFIX)
        prefix += TRAINED_PREFIX * name.startswith(TRAINED_RECORD_PREFIX)
        return f"{prefix}{weights}{ORTH_SUFFIX * name.endswith(ORTH_SUFFIX)}"
    if is_trained(name) or name.startswith(SCORE_FILE_PREFIX):
        raise RecordError(f"{name} is a file that its owner has; give it as --weights")
    return name


def _settings(protocol: Protocol[Any, Any], record: Record, truth: Path | None) -> Any:
    """Return the protocol's settings as recorded, with the user's file of truth in place of the recorded one."""
    recorded = record["protocol"]["settings"]
    settings, recorded_truth = protocol.read_settings(recorded), recorded.get("truth", "")
    if not is_truth_file(recorded_truth):
        if truth is not None:
            raise RecordError(f"{record['run_id']} has no file of truth, so --truth is of no use")
        return settings
    if truth is None:
        raise RecordError(f"its truth is the file {recorded_truth.split()[0]}; give it as --truth")
    own = replace(settings, truth=str(truth))
    if protocol.recorded_settings(own) != settings:
        raise RecordError(f"{truth} is not the truth of {record['run_id']}, which is {recorded_truth}")
    return own


def compare_again(record: Record, table: bytes, inputs: LocalInputs, num: int, seed: int) -> Iterator[Comparison]:
    """Evaluate a sample of a record's networks again and yield the comparisons.

    Besides a random sample, a quarter as many are drawn from the most surprising quarter of the results.

    Args:
        record, table: the record and its table of networks.
        inputs: weights, truth and images.
        num: size of the random sample, at most all networks.
        seed: seed of the sample.

    Raises:
        RecordError: weights, truth or images are missing, or are not those of the record.
    """
    context, rows, jobs = context_of_record(record, inputs), read_rows(table), record_jobs(record)
    chosen = draw_sample(len(jobs), num, seed)
    extra = draw_surprising(surprise(rows, context.protocol.compared_columns), chosen, num // 4, seed)
    for i in sorted([*chosen, *extra]):
        yield _compare(context, jobs[i], rows.iloc[i].to_dict())


def draw_sample(total: int, num: int, seed: int) -> list[int]:
    """Sample `num` of `total` results without replacement, and return their indices in ascending order."""
    return sorted(np.random.default_rng(seed).choice(total, min(num, total), replace=False).tolist())


def surprise(rows: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """Return how far each result is from the median of its group, the largest of its columns; failures do not surprise.

    Results are edited to raise a mean or to change an order, so edited ones tend to stand out.
    """
    numbers = rows[list(columns)].apply(pd.to_numeric, errors="coerce")
    groups = numbers.groupby(rows["group"])
    away = (numbers - groups.transform("median")).abs()
    spread = away.groupby(rows["group"]).transform("median")
    return np.asarray((away / spread.where(spread > 0, 1.0)).max(axis=1).fillna(0.0), np.float64)


def draw_surprising(surprises: Floats, chosen: Sequence[int], num: int, seed: int) -> list[int]:
    """Draw `num` indices of the most surprising quarter of results that are not chosen yet."""
    others = [i for i in np.argsort(-surprises, kind="stable").tolist() if i not in set(chosen)]
    quarter = others[: max(num, len(surprises) // 4)]
    drawn = np.random.default_rng([seed, 1]).choice(len(quarter), min(num, len(quarter)), replace=False)
    return sorted(quarter[i] for i in drawn.tolist())


def has_shift(comparisons: Sequence[Comparison]) -> bool:
    """Tell whether recorded values are shifted: each within the tolerance, but most in the same direction.

    On the same kind of processor an honest record repeats to the last digit. On another processor a few images change
    their class, in either direction, so differences average out. There is a shift if the mean difference of a column is
    above a third of the tolerance; or above a tenth of it and above three standard errors.
    """
    differences = np.array([comparison.differences for comparison in comparisons])  # (n, c)
    tolerance, mean = comparisons[0].tolerance, np.abs(differences.mean(0))
    error = differences.std(0) / max(1, len(differences)) ** 0.5
    consistent = (mean > tolerance / 10) & (mean > 3 * error) & (len(differences) >= 3)
    return bool((consistent | (mean > tolerance / 3)).any())


def largest_mean_difference(comparisons: Sequence[Comparison]) -> float:
    """Return the mean difference over networks, of the column where it is largest; honest errors average out."""
    return float(np.abs(np.mean([comparison.differences for comparison in comparisons], axis=0)).max())


def _compare(context: RunContext, job: Job, recorded: dict[str, Any]) -> Comparison:
    """Evaluate a network again and compare.

    Scores of proxies can have any size, so they are compared relatively; so are values above 1.
    """
    with memory.limited() if context.config.device == "cpu" else nullcontext():
        measured = evaluate(context, job).columns()
    protocol = context.protocol
    columns = protocol.compared_columns
    failed = [row["status"] == "failed" for row in (recorded, measured)]
    if any(failed):
        differences = [float(failed[0] != failed[1])] * len(columns)
    else:
        pairs = [(float(measured[name]), float(recorded[name])) for name in columns]
        least = 1.0 if context.scorer is by_accuracy else sys.float_info.min
        differences = [(new - old) / max(least, abs(old), abs(new)) for new, old in pairs]
    old_text, new_text = (_text(row, columns, any(failed)) for row in (recorded, measured))
    return Comparison(str(measured["name"]), old_text, new_text, differences, protocol.tolerance)


def _text(row: Mapping[str, Any], columns: tuple[str, ...], status_only: bool) -> str:
    if row["status"] == "failed":
        return f"failed ({row['reason']})"
    return "ok" if status_only else ", ".join(f"{name} {float(row[name]):.4g}" for name in columns)
