"""The record of a run: what was measured on what, with the results of every network, so that anyone can check it.

The numbers of a record are computed from its table, which has a row for each network and repetition. The run_id ends
with a hash of all that decides the results, so equal runs have equal names. `schema.json` describes the same fields.
"""

import hashlib
import io
import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict

import pandas as pd

from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, open_split, split_of
from benchmarks.core.protocol import Protocol
from benchmarks.core.summaries import Statistics
from benchmarks.execution.row import Row
from benchmarks.execution.run_config import Job, RunConfig, list_jobs
from benchmarks.execution.run_context import RunContext
from benchmarks.initializers.base import recordable
from deepnets.sampling.splits import SPLITS
from deepnets.utils import provenance
from deepnets.utils.errors import InputError, one_line

FORMAT = 1

Sha256 = dict[str, str | None]
"""sha256 of the images of train, val and test; None where nothing was loaded."""


class ProtocolField(TypedDict):
    """Name, version and settings of the protocol."""

    name: str
    version: int
    settings: dict[str, Any]


class DatasetField(TypedDict):
    """The images that networks were evaluated on."""

    name: str
    image_size: int
    classes: int
    sha256: Sha256


class ModelField(TypedDict):
    """The initializer, GHN or scorer that was evaluated; initializers without weights have no sha256."""

    name: str
    weights_sha256: str | None
    orth_layer: int


class NetworksFromField(TypedDict):
    """Files that networks of DeepNets-1M were read from: their source, and sha256 of their content by split."""

    source: str
    sha256: dict[str, str]


class SelectionField(TypedDict):
    """The networks are the best of another run."""

    name: str
    run_id: str


class Identity(TypedDict):
    """All that decides the results of a run; `networks` are counts by group."""

    protocol: ProtocolField
    dataset: DatasetField
    model: ModelField
    networks: dict[str, int]
    seed: int
    repeats: int
    networks_from: NotRequired[NetworksFromField]
    selection: NotRequired[SelectionField]


GroupResult = dict[str, int | Statistics]
"""Result of a group of networks: the counts `networks` and `failed`, and statistics by metric."""


class Record(Identity):
    """A record, as its JSON file has it."""

    format: int
    run_id: str
    status: str
    results: dict[str, Any]
    rows_sha256: str
    environment: dict[str, str | int]
    commit: str | None
    command: str
    date: str
    seconds: float


class RecordError(InputError):
    """A record that cannot be used; the message is one sentence for the user."""


def run_identity(plan: RunConfig, context: RunContext) -> Identity:
    """Return all that decides the results of a run."""
    identity: Identity = {
        "protocol": {
            "name": plan.protocol,
            "version": context.protocol.version_of(plan.settings, context.initializer.name),
            "settings": json.loads(json.dumps(context.protocol.settings_field(plan.settings))),
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
    if plan.networks_from is not None:
        identity["networks_from"] = networks_from(plan)
    if plan.selection is not None:
        identity["selection"] = {"name": plan.selection.name, "run_id": plan.selection.run_id}
    return identity


def networks_from(plan: RunConfig) -> NetworksFromField:
    """Return which files the networks of DeepNets-1M of a run are read from."""
    assert plan.networks_from is not None
    splits = sorted({split_of(group) for group in plan.groups} & set(SPLITS))
    headers = {split: open_split(plan.networks_from, split, plan.image_size).header for split in splits}
    origins = [header.toolkit_version.partition("imported from ")[2] for header in headers.values()]
    source = "+".join(sorted({recordable(origin) or "generated" for origin in origins}))
    return {"source": source, "sha256": {split: header.content_sha256 for split, header in headers.items()}}


def run_id(record: Identity) -> str:
    """Return the name of a run: protocol, data set, model and a hash of all that decides its results."""
    content = {key: value for key, value in record.items() if key in Identity.__annotations__}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return "-".join((record["protocol"]["name"], record["dataset"]["name"], record["model"]["name"], digest[:8]))


def make_record(
    plan: RunConfig, context: RunContext, rows: Sequence[Row], command: Sequence[str]
) -> tuple[Record, bytes]:
    """Return the record of a finished run and its table, the CSV text of the rows."""
    content = run_identity(plan, context)
    table = rows_to_csv(rows, context.protocol)
    record: Record = {
        "format": FORMAT,
        "run_id": run_id(content),
        "status": "dev" if plan.random_weights else "self_reported",
        **content,
        "results": dict(aggregate(read_rows(table), context.protocol, content.get("selection"))),
        "rows_sha256": hashlib.sha256(table).hexdigest(),
        "environment": {**provenance.versions(), **provenance.machine(plan.device)},
        "commit": provenance.commit(),
        "command": shlex.join(command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(sum(row.seconds for row in rows), 1),
    }
    return record, table


def rows_to_csv(rows: Sequence[Row], protocol: Protocol[Any, Any]) -> bytes:
    """Return rows as CSV; values that a failed network does not have are empty."""
    columns = protocol.row_columns
    lines = [{column: row.columns().get(column, "") for column in columns} for row in rows]
    frame = pd.DataFrame(lines, columns=list(columns))
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def read_rows(table: bytes) -> pd.DataFrame:
    """Return the rows of a record's table.

    Raises:
        RecordError: it cannot be read.
    """
    try:
        return pd.read_csv(io.BytesIO(table), keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise RecordError(f"its table cannot be read ({one_line(error)})") from None


def aggregate(
    rows: pd.DataFrame, protocol: Protocol[Any, Any], selection: SelectionField | None = None
) -> dict[str, GroupResult]:
    """Return the result of each group, and of "all", the evaluation splits together, if there are several of these.

    Args:
        rows: results of networks.
        protocol: protocol of the results.
        selection: the networks are the best ones of another run, so the result of all has the name of the selection.
    """
    parts = {str(group): part for group, part in rows.groupby("group", sort=False)}
    if len(parts.keys() & set(EVALUATION_SPLITS)) > 1:
        parts["all"] = rows[rows["group"].isin(EVALUATION_SPLITS)]
    if selection is not None:
        parts[selection["name"]] = rows
    return {
        group: {
            "networks": _count_networks(part),
            "failed": _count_networks(part[part["status"] == "failed"]),
            **{metric: protocol.summary.statistics(part, metric) for metric in protocol.metrics},
        }
        for group, part in parts.items()
    }


def _count_networks(rows: pd.DataFrame) -> int:
    return len(rows[["group", "index"]].drop_duplicates())


def explain_missing_values(results: dict[str, Any], protocol: Protocol[Any, Any]) -> str:
    """Return why no group has a number, an empty string if one has; too few networks have no correlation."""
    value = protocol.summary.shown[0]
    if any(result[name][value] is not None for result in results.values() for name in protocol.metrics):
        return ""
    return f"there is no {' and no '.join(protocol.metrics)}: {protocol.summary.unknown}"


def record_jobs(record: Record) -> list[Job]:
    """Return the jobs of a record; its table has a row for each, in this order."""
    return list_jobs(record["networks"], record["repeats"])
