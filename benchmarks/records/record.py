"""The record of a run: what was measured on what, with the results of every network, so that anyone can check it.

A record is `<run_id>.json` and, beside it, `<run_id>.csv.gz` with a line for each network. The numbers in the first are
computed from the second. The run_id ends with a hash of all that decides the results, so equal runs have equal names.
"""

import gzip
import hashlib
import io
import json
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS
from benchmarks.core.protocol import Protocol
from benchmarks.execution.jobs import Context, Job, Row, RunConfig, jobs_of
from deepnets.utils import provenance
from deepnets.utils.atomic_files import atomic_write, write_json

FORMAT = 1
_IDENTITY = ("protocol", "dataset", "model", "networks", "seed", "repeats")

Record = dict[str, Any]


class RecordError(ValueError):
    """A record that cannot be used; the message is one sentence for the user."""


def identity(plan: RunConfig, context: Context) -> dict[str, Any]:
    """All that decides the results of a run."""
    return {
        "protocol": {
            "name": plan.protocol,
            "version": context.protocol.version,
            "settings": json.loads(json.dumps(asdict(context.protocol.recorded(plan.settings)))),
        },
        "dataset": {
            "name": context.task.name,
            "image_size": plan.image_size,
            "classes": context.task.num_classes,
            "sha256": context.task.hashes(),
        },
        "model": {
            "name": context.initializer.name,
            "weights_sha256": context.initializer.weights_sha256,
            "orth_layer": plan.orth_layer,
        },
        "networks": plan.networks(),
        "seed": plan.seed,
        "repeats": plan.repeats,
    }


def run_id(record: Record) -> str:
    """Name of a run: protocol, data, model and a hash of all that decides its results.

    Args:
        record: or its identity.
    """
    content = {key: record[key] for key in _IDENTITY}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    names = (content["protocol"]["name"], content["dataset"]["name"], content["model"]["name"])
    return "-".join((*names, digest[:8]))


def make(plan: RunConfig, context: Context, rows: Sequence[Row], command: Sequence[str]) -> tuple[Record, bytes]:
    """The record of a finished run and its table of networks."""
    content = identity(plan, context)
    table = table_of(rows, context.protocol)
    record = {
        "format": FORMAT,
        "run_id": run_id(content),
        "status": "dev" if plan.random_weights else "self_reported",
        **content,
        "results": aggregate(frame(table), context.protocol),
        "rows_sha256": hashlib.sha256(table).hexdigest(),
        "environment": {**provenance.versions(), **provenance.machine(plan.device)},
        "commit": provenance.commit(),
        "command": shlex.join(command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
    return record, table


def table_of(rows: Sequence[Row], protocol: Protocol) -> bytes:
    """Lines of results as CSV; what a failed network has no value for is empty."""
    columns = protocol.row_columns
    frame = pd.DataFrame([{column: row.get(column, "") for column in columns} for row in rows], columns=list(columns))
    return frame.to_csv(index=False, lineterminator="\n").encode()


def aggregate(table: pd.DataFrame, protocol: Protocol) -> dict[str, Any]:
    """What is said of each group of networks, and of "all" those of the evaluation splits if there are several."""
    parts = {str(group): part for group, part in table.groupby("group", sort=False)}
    if len(parts.keys() & set(EVALUATION_SPLITS)) > 1:
        parts["all"] = table[table["group"].isin(EVALUATION_SPLITS)]
    return {
        group: {
            "networks": _count_networks(part),
            "failed": _count_networks(part[part["status"] == "failed"]),
            **{metric: protocol.summary.statistics(part, metric) for metric in protocol.metrics},
        }
        for group, part in parts.items()
    }


def has_values(results: dict[str, Any], protocol: Protocol) -> bool:
    """Whether there is a number for any group; too few networks have no correlation."""
    value = protocol.summary.shown[0]
    return any(result[name][value] is not None for result in results.values() for name in protocol.metrics)


def missing(protocol: Protocol) -> str:
    """What people are told who have no values."""
    return f"there is no {' and no '.join(protocol.metrics)}: {protocol.summary.unknown}"


def _count_networks(rows: pd.DataFrame) -> int:
    return len(rows[["group", "index"]].drop_duplicates())


def write(folder: Path, record: Record, table: bytes) -> Path:
    """Writes a record and its table; the record comes last, so an incomplete one is none.

    Returns:
        The record's file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['run_id']}.json"
    packed = gzip.compress(table, mtime=0)
    atomic_write(table_path(path), packed)
    write_json(path, record, allow_nan=False)
    return path


def table_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".json") + ".csv.gz")


def in_folder(folder: Path) -> Path:
    """The record in the folder of a finished run.

    Raises:
        RecordError: there is none, or several.
    """
    found = [path for path in folder.glob("*.json") if table_path(path).exists()]
    if len(found) != 1:
        raise RecordError(f"{folder} has {len(found)} records; give the folder of one finished run")
    return found[0]


def read(path: Path) -> tuple[Record, bytes]:
    """A record and its table.

    Raises:
        RecordError: a file is missing or damaged.
    """
    try:
        record = json.loads(path.read_text(), parse_constant=_not_finite)
        with gzip.open(table_path(path)) as file:
            table = file.read()
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise RecordError(f"{path.name} cannot be read ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(record, dict):
        raise RecordError(f"{path.name} is no record")
    return record, table


def _not_finite(value: str) -> float:
    raise ValueError(f"it has the number {value}")


def frame(table: bytes) -> pd.DataFrame:
    """The table of a record.

    Raises:
        RecordError: it is no table.
    """
    try:
        return pd.read_csv(io.BytesIO(table), keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise RecordError(f"its table cannot be read ({error})") from None


def plan_jobs(record: Record) -> list[Job]:
    """The lines that the table of a record must have."""
    return jobs_of(record["networks"], record["repeats"])
