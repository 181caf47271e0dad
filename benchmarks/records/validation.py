"""Checks of records: form, arithmetic, and that they fit the networks, the data and the weights that they name."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonschema import Draft202012Validator, validators

from benchmarks.core.evaluation_networks import network_at, networks_in
from benchmarks.core.protocol import Protocol
from benchmarks.initializers.ghn import ORTH_SUFFIX
from benchmarks.initializers.registry import get_method
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record import Record, RecordError, aggregate, frame, has_values, missing, plan_jobs, run_id
from benchmarks.scoring.zero_cost_proxies import PROXIES
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.symbolic.builder import count_parameters
from ghn_models.checkpoints import folder as checkpoints

_TOLERANCE = 1e-9

Problems = Iterator[str]


def problems(record: Record, table: bytes, datasets: dict[str, Any]) -> list[str]:
    """What is wrong with a record, a sentence each.

    Args:
        record: as read.
        table: lines of results.
        datasets: sha256 of the parts of data sets, by name and image size.
    """
    rows = cache(lambda: frame(table))
    # Each check relies on those before it.
    checks: list[Callable[[], Problems]] = [
        lambda: _form(record),
        lambda: _names(record),
        lambda: _hashes(record, table, datasets),
        lambda: _rows(record, table),
        lambda: _results(record, rows()),
        lambda: _networks(record, rows()),
        lambda: _known(record, rows()),
    ]
    for check in checks:
        try:
            found = list(check())
        except (RecordError, csv.Error, OverflowError) as error:
            found = [f"its table or a number cannot be read ({' '.join(str(error).split())[:200]})"]
        if found:
            return found
    return []


def _is_integer(checker: Any, value: Any) -> bool:
    """JSON Schema takes 4.0 for an integer; hashes and ranges do not."""
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = validators.extend(
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)


def _form(record: Record) -> Problems:
    schema = json.loads((Path(__file__).parent / "schema.json").read_text())
    errors = list(_Validator(schema).iter_errors(record))
    yield from (f"{'.'.join(map(str, e.absolute_path)) or 'the record'}: {e.message[:200]}" for e in errors)
    if errors:
        return
    try:
        if date.fromisoformat(record["date"]) > date.today() + timedelta(days=1):
            yield f"date: {record['date']} is still to come"
    except ValueError:
        yield f"date: {record['date']} is none"


def _names(record: Record) -> Problems:
    kind = PROTOCOLS.get(record["protocol"]["name"])
    version = record["protocol"]["version"]
    if kind is None:
        yield f"there is no protocol {record['protocol']['name']!r}; accepted: {', '.join(PROTOCOLS)}"
        return
    if version != kind.version:
        yield f"it is of version {version} of {kind.name}; accepted: {kind.version}"
    settings = record["protocol"]["settings"]
    usual = asdict(kind.settings())
    if settings.keys() != usual.keys() or not all(_of_kind(settings[name], usual[name]) for name in usual):
        yield f"its settings are none of {kind.name}, such as {usual}"
    else:
        try:
            kind.check_groups(kind.read_settings(settings), tuple(record["networks"]))
        except ValueError as error:
            yield f"its settings are none of {kind.name} ({error})"
    for group, count in record["networks"].items():
        try:
            available = len(networks_in(group))
        except ValueError as error:
            yield str(error)
            continue
        if count > available:
            yield f"it has {count} networks of {group}, of which there are {available}"
    if record["status"] == "dev":
        yield "it is marked as dev (random weights), which is nothing for a leaderboard"


def _of_kind(value: Any, usual: Any) -> bool:
    """Whether a setting is a number, a text or several numbers as the usual one is."""
    if isinstance(usual, tuple):
        return isinstance(value, list) and all(_of_kind(item, usual[0]) for item in value)
    if isinstance(usual, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(usual)


def _hashes(record: Record, table: bytes, datasets: dict[str, Any]) -> Problems:
    wanted = run_id(record)
    if record["run_id"] != wanted:
        yield f"its run_id is {record['run_id']}, but what it says was done has {wanted}"
    if hashlib.sha256(table).hexdigest() != record["rows_sha256"]:
        yield "its table has another sha256 than rows_sha256"
    data = record["dataset"]
    known = datasets.get(data["name"], {}).get(str(data["image_size"]))
    if known is not None and known != data["sha256"]:
        yield f"its data have other sha256 than {data['name']} with {data['image_size']} pixels has"
    name = record["model"]["name"]
    proxy = PROTOCOLS[record["protocol"]["name"]].scores and name in PROXIES
    random, has_weights = proxy or get_method(name) is not None, record["model"]["weights_sha256"] is not None
    if random == has_weights:
        yield f"{name} {'has no' if random else 'needs a'} weights_sha256"
    if record["model"]["orth_layer"] and not name.endswith(ORTH_SUFFIX):
        yield f"{name} has no layers that are made orthogonal, so orth_layer must be 0"
    shipped = _shipped().get(record["model"]["name"].removesuffix(ORTH_SUFFIX))
    if shipped is not None and shipped != record["model"]["weights_sha256"]:
        yield f"its weights have another sha256 than the shipped {record['model']['name']}"


@cache
def _shipped() -> dict[str, str]:
    """sha256 of shipped weights by name."""
    folders = [path.parent for path in checkpoints.SHIPPED.glob(f"*/{checkpoints.CONFIG}")]
    return {folder.name: checkpoints.sha256(folder / checkpoints.WEIGHTS) for folder in folders}


def _rows(record: Record, table: bytes) -> Problems:
    kind = PROTOCOLS[record["protocol"]["name"]]
    columns = list(kind.row_columns)
    lines = list(csv.reader(io.StringIO(_text(table))))
    if not lines or lines[0] != columns or any(len(line) != len(columns) for line in lines):
        yield f"its table has other columns than {', '.join(columns)}"
        return
    if len(lines) - 1 != sum(record["networks"].values()) * record["repeats"]:
        yield f"its table has {len(lines) - 1} lines instead of one for each network and repetition"
        return
    found = [tuple(line[:3]) for line in lines[1:]]
    wanted = [(job.group, str(job.index), str(job.repeat)) for job in plan_jobs(record)]
    if found != wanted:
        missing = next((key for key in wanted if key not in set(found)), None)
        what = f"no line for {' '.join(missing)}" if missing else "lines in another order, or more of them"
        yield f"its table has {what}"
        return
    settings = kind.read_settings(record["protocol"]["settings"])
    for number, line in enumerate(lines[1:], 2):
        wrong = _line(dict(zip(columns, line, strict=True)), kind, settings)
        yield from (f"line {number} of its table: {problem}" for problem in wrong)


def _line(line: dict[str, str], kind: Protocol, settings: Any) -> Problems:
    if line["status"] == "failed":
        if not line["reason"]:
            yield "it failed without a reason"
        if any(line[name] for name in (*kind.columns, *kind.accuracies)):
            yield "it failed and has results"
        return
    if line["status"] != "ok":
        yield f"its status is {line['status']!r}; accepted: ok, failed"
    for name in ("params", "batch_size", *kind.columns, *kind.accuracies):
        value = _number(line[name])
        if not np.isfinite(value) or (name in kind.accuracies and not 0 <= value <= 1):
            yield f"{name} is {line[name]!r}, which is no {'accuracy' if name in kind.accuracies else 'number'}"
    if _number(line["batch_size"]) not in kind.batch_sizes:
        yield f"batch_size is {line['batch_size']}; accepted: {', '.join(map(str, kind.batch_sizes))}"
    for name in kind.columns:
        choices = getattr(settings, f"{name}s", None)  # lr is one of lrs
        if choices is not None and _number(line[name]) not in choices:
            yield f"{name} is {line[name]}, but its settings have {', '.join(map(str, choices))}"
    if "val_top1" in kind.columns and not 0 <= _number(line["val_top1"]) <= 1:
        yield f"val_top1 is {line['val_top1']!r}, which is no accuracy"
    if kind.accuracies == ("top1", "top5") and _number(line["top1"]) > _number(line["top5"]):
        yield "top1 is above top5"


def _text(table: bytes) -> str:
    """A table as text.

    Raises:
        RecordError: it is none.
    """
    try:
        return table.decode()
    except UnicodeDecodeError:
        raise RecordError("it is no text in UTF-8") from None


def _number(text: str) -> float:
    """Of the forms that Python writes, and no other, since not all readers take the same."""
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?", text) else float("nan")


def _results(record: Record, rows: pd.DataFrame) -> Problems:
    kind = PROTOCOLS[record["protocol"]["name"]]
    wanted = aggregate(rows, kind)
    if list(wanted) != list(record["results"]):
        yield "its results are of other groups than its table"
        return
    for group, result in wanted.items():
        if result.keys() != record["results"][group].keys():
            yield f"its results of {group} have other metrics than {kind.name}"
            continue
        for name, value in result.items():
            found = record["results"][group][name]
            if not isinstance(value, int) and found.keys() != value.keys():
                yield f"{name} of {group} has {', '.join(found)} instead of {', '.join(value)}"
                continue
            pairs = [(found, value)] if isinstance(value, int) else [(found[key], value[key]) for key in value]
            if not all(_same(a, b) for a, b in pairs):
                yield f"{name} of {group} is {found}, but its table gives {value}"
    if not has_values(wanted, kind):
        yield missing(kind)


def _same(found: float | None, wanted: float | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return abs(found - wanted) <= _TOLERANCE


def _networks(record: Record, rows: pd.DataFrame) -> Problems:
    """Names of networks, and their numbers of parameters where they follow from the architecture alone."""
    data = record["dataset"]
    for group, part in rows.groupby("group", sort=False):
        members = networks_in(str(group))
        if any(name != members[index].name for name, index in zip(part["name"], part["index"], strict=True)):
            yield f"networks of {group} have other names"
        ok = part[part["status"] == "ok"]
        if group not in SPLITS:
            continue
        counts = _params(str(group), record["networks"][group], data["image_size"], data["classes"])
        for row in ok.itertuples():
            if row.params != counts[row.index]:
                yield f"{row.name} has {counts[row.index]} parameters, not {row.params}"
                break


def _known(record: Record, rows: pd.DataFrame) -> Problems:
    """Results that follow from settings, networks or their numbers of parameters without a measurement."""
    kind = PROTOCOLS[record["protocol"]["name"]]
    settings = kind.read_settings(record["protocol"]["settings"])
    ok = rows[rows["status"] == "ok"]
    for row in ok.to_dict("records"):
        known = kind.known(settings, network_at(row["group"], row["index"]))
        if known is not None and float(row[known[0]]) != known[1]:
            yield f"{known[0]} of {row['name']} is {row[known[0]]}, but it must be {known[1]}"
    if kind.scores and record["model"]["name"] == "params" and (ok["score"].astype(float) != ok["params"]).any():
        yield "scores of params are other numbers than those of parameters"


@cache
def _params(split: str, count: int, image_size: int, num_classes: int) -> np.ndarray:
    """(count,) parameters of the first networks of a split."""
    networks = sample_networks(split, 0, count)
    return count_parameters(networks.architectures(image_size), image_size, num_classes)


def clashes(records: list[Record]) -> Iterator[tuple[str, str]]:
    """What is wrong between records: run_id and problem."""
    seen: dict[tuple[str, str, str], str] = {}
    weights: dict[str, tuple[str | None, str]] = {}
    data: dict[tuple[str, int], tuple[Any, int, str]] = {}
    for record in records:
        name, called = record["run_id"], record["model"]["name"]
        key = (record["rows_sha256"], called, record["dataset"]["name"])
        if key in seen:
            yield name, f"it is a duplicate of {seen[key]}: the same results of the same model"
        seen.setdefault(key, name)
        first = weights.setdefault(called, (record["model"]["weights_sha256"], name))
        if first[0] != record["model"]["weights_sha256"]:
            yield name, f"its weights differ from those of {first[1]}, which are called {called} too"
        images = (record["dataset"]["name"], record["dataset"]["image_size"])
        before = data.setdefault(images, (record["dataset"]["sha256"], record["dataset"]["classes"], name))
        if before[:2] != (record["dataset"]["sha256"], record["dataset"]["classes"]):
            yield name, f"its data differ from those of {before[2]}, which are called {images[0]} too"
