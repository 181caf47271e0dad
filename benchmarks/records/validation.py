"""Checks of records: form, arithmetic, and agreement with the networks, the images and the weights that they name."""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonschema import Draft202012Validator, ValidationError, validators
from numpy.typing import NDArray

from benchmarks.core.evaluation_networks import network_at, networks_in, split_of
from benchmarks.core.protocol import Protocol
from benchmarks.core.protocol_settings import has_type_of
from benchmarks.execution.selection import best_groups
from benchmarks.initializers.ghn import ORTH_SUFFIX
from benchmarks.initializers.registry import get_method
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.copies import find_copies
from benchmarks.records.record import Record, RecordError, Sha256, aggregate, explain_missing_values, read_rows, run_id
from benchmarks.records.reserved_names import name_problem
from benchmarks.records.table_checks import table_problems
from benchmarks.scoring.zero_cost_proxies import PROXIES
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.symbolic.builder import count_parameters
from deepnets.utils.errors import InputError, one_line, unknown_choice

_TOLERANCE = 1e-9
_MOST_PROBLEMS = 20
_FIRST_DAY = date(2026, 11, 21)

Problems = Iterator[str]
Datasets = dict[str, dict[str, Sha256]]
"""sha256 of the images by data set and image size."""


@dataclass(frozen=True, eq=False)
class _Submission:
    """A record under check. Read its protocol, settings and rows only after the checks that they depend on."""

    record: Record
    table: bytes
    datasets: Datasets
    confirmed: dict[str, str]

    @property
    def protocol(self) -> Protocol[Any, Any]:
        """The protocol of the record, which `_name_problems` finds to exist."""
        return PROTOCOLS[self.record["protocol"]["name"]]

    @property
    def settings(self) -> Any:
        """The protocol's settings, which `_name_problems` finds to be right."""
        return self.protocol.read_settings(self.record["protocol"]["settings"])

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The table as read, which `_table_problems` finds to be right."""
        return read_rows(self.table)

    @property
    def finished(self) -> pd.DataFrame:
        """Rows of networks that did not fail."""
        return self.rows[self.rows["status"] == "ok"]


def find_problems(
    record: Record, table: bytes, datasets: Datasets, confirmed: dict[str, str] | None = None
) -> list[str]:
    """Return a sentence for each problem of a record; none if it is valid.

    Args:
        record: as read from its file.
        table: CSV text of the rows.
        datasets: known images; records of other data sets are not compared.
        confirmed: hashes of published weights by name, confirmed by maintainers.
    """
    submission = _Submission(record, table, datasets, confirmed or {})
    for check in _CHECKS:
        try:
            problems = list(check(submission))
        except (RecordError, csv.Error, OverflowError) as error:
            problems = [f"its table or a number cannot be read ({one_line(error)})"]
        if problems:
            return problems
    return []


def _is_integer(checker: Any, value: Any) -> bool:
    """JSON Schema takes 4.0 for an integer; hashes and ranges do not."""
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = validators.extend(
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)


def _form_problems(submission: _Submission) -> Problems:
    """Check fields and their types against the JSON schema, the characters of texts, and the date."""
    schema = json.loads((Path(__file__).parent / "schema.json").read_text())
    errors = list(islice(_Validator(schema).iter_errors(submission.record), _MOST_PROBLEMS))
    yield from (f"{'.'.join(map(str, e.absolute_path)) or 'the record'}: {_describe(e)}" for e in errors)
    if errors:
        return
    for text in _texts(submission.record):
        if not text.isprintable():  # patterns accept a line break at the end
            yield f"{one_line(ascii(text))} has a line break or another character that cannot be printed"
            return
    day = submission.record["date"]
    try:
        if date.fromisoformat(day) > date.today() + timedelta(days=1):
            yield f"date: {day} is in the future"
        if date.fromisoformat(day) < _FIRST_DAY:
            yield f"date: {day} is before {_FIRST_DAY}, the day of the toolkit's first version"
    except ValueError:
        yield f"date: {day} is not a date"


def _describe(error: ValidationError) -> str:
    """Return a sentence; that of jsonschema starts with the value, whose length may be what is wrong."""
    if error.validator in ("maxLength", "maxProperties"):
        unit = {"maxLength": "characters", "maxProperties": "entries"}[error.validator]
        return f"it has {len(error.instance)} {unit}; accepted: up to {error.validator_value}"
    return one_line(error.message)


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a record, the keys included."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _name_problems(submission: _Submission) -> Problems:
    """Check that protocol, settings and networks exist, and that the weights are not random ones."""
    recorded = submission.record["protocol"]
    protocol = PROTOCOLS.get(recorded["name"])
    if protocol is None:
        yield unknown_choice("protocol", recorded["name"], PROTOCOLS)
        return
    yield from _version_problems(submission)
    for group, count in submission.record["networks"].items():
        try:
            available = len(networks_in(group))
        except InputError as error:
            yield str(error)
            continue
        if count > available:
            yield f"it has {count} networks of {group}, of which there are {available}"
    if submission.record["status"] == "dev":
        yield "its status is dev (random weights); such records are not for a leaderboard"


def _version_problems(submission: _Submission) -> Problems:
    """Check settings and version: what another version measured is another number."""
    record, protocol = submission.record, submission.protocol
    recorded, found = record["protocol"]["version"], list(_setting_problems(submission))
    accepted = protocol.version if found else protocol.version_of(submission.settings, record["model"]["name"])
    if recorded != accepted:
        yield f"its version of {protocol.name} is {recorded}; accepted: {accepted}, so it has to be measured again"
    else:
        yield from found


def _setting_problems(submission: _Submission) -> Problems:
    protocol, settings = submission.protocol, submission.record["protocol"]["settings"]
    defaults = asdict(protocol.settings_class())
    missing = defaults.keys() - settings.keys()
    known = settings.keys() <= defaults.keys() and missing <= protocol.later_settings
    if not known or not all(has_type_of(settings[k], defaults[k]) for k in settings):
        yield f"its settings are not settings of {protocol.name}, such as {defaults}"
        return
    try:
        protocol.check_groups(
            submission.settings, tuple(submission.record["networks"]), "networks_from" in submission.record
        )
    except InputError as error:
        yield f"its settings are not settings of {protocol.name} ({error})"


def _hash_problems(submission: _Submission) -> Problems:
    """Check run_id, and the hashes of table, images and weights as far as they are known."""
    record, data = submission.record, submission.record["dataset"]
    if record["run_id"] != run_id(record):
        yield f"its run_id is {record['run_id']}, but its other fields give {run_id(record)}"
    if hashlib.sha256(submission.table).hexdigest() != record["rows_sha256"]:
        yield "its table has another sha256 than rows_sha256"
    known = submission.datasets.get(data["name"], {}).get(str(data["image_size"]))
    if known is not None and known != data["sha256"]:
        yield f"its images have other sha256 than those of {data['name']} with {data['image_size']} pixels"
    for name, sizes in submission.datasets.items():
        test = data["sha256"]["test"]
        if name != data["name"] and test is not None and any(test == images["test"] for images in sizes.values()):
            yield f"its test images are those of {name}, so its data set must have that name"
    yield from _model_problems(submission)


def _model_problems(submission: _Submission) -> Problems:
    model = submission.record["model"]
    name, sha256 = model["name"], model["weights_sha256"]
    is_proxy = submission.protocol.accepts_scorers and name in PROXIES
    has_weights = not is_proxy and get_method(name) is None
    if has_weights and sha256 is None:
        yield f"{name} needs a weights_sha256"
    if not has_weights and sha256 is not None:
        yield f"{name} has no weights_sha256"
    if model["orth_layer"] and name != "orth" and not name.endswith(ORTH_SUFFIX):
        yield f"{name} has no layers that are made orthogonal, so orth_layer must be 0"
    problem = name_problem(name, sha256, submission.confirmed)
    if problem:
        yield problem


def _table_problems(submission: _Submission) -> Problems:
    """Check columns, rows and values of the table."""
    return table_problems(submission.record, submission.table, submission.protocol, submission.settings)


def _result_problems(submission: _Submission) -> Problems:
    """Compute the results from the table again and compare."""
    protocol, recorded = submission.protocol, submission.record["results"]
    computed = aggregate(submission.rows, protocol, submission.record.get("selection"))
    if list(computed) != list(recorded):
        yield "its results are of other groups than its table"
        return
    for group, result in computed.items():
        if result.keys() != recorded[group].keys():
            yield f"its results of {group} have other metrics than {protocol.name}"
            continue
        for name, value in result.items():
            yield from _value_problems(f"{name} of {group}", recorded[group][name], value)
    missing = explain_missing_values(computed, protocol)
    if missing:
        yield missing


def _value_problems(name: str, recorded: Any, computed: Any) -> Problems:
    """Compare a count or the statistics of a metric."""
    if isinstance(computed, int):
        equal = _is_same(recorded, computed)
    elif recorded.keys() != computed.keys():
        yield f"{name} has {', '.join(recorded)} instead of {', '.join(computed)}"
        return
    else:
        equal = all(_is_same(recorded[key], computed[key]) for key in computed)
    if not equal:
        yield f"{name} is {recorded}, but its table gives {computed}"


def _is_same(recorded: float | None, computed: float | None) -> bool:
    if recorded is None or computed is None:
        return recorded is computed
    return abs(recorded - computed) <= _TOLERANCE


def _network_problems(submission: _Submission) -> Problems:
    """Check names of networks, and parameter counts where these follow from the architecture alone."""
    data = submission.record["dataset"]
    for group, part in submission.rows.groupby("group", sort=False):
        members = networks_in(str(group))
        if any(name != members[index].name for name, index in zip(part["name"], part["index"], strict=True)):
            yield f"networks of {group} have other names"
        if split_of(str(group)) not in SPLITS or "networks_from" in submission.record:
            continue
        num = submission.record["networks"][str(group)]
        start = 0 if group in SPLITS else members[0].place_in_split
        counts = _parameter_counts(split_of(str(group)), start, num, data["image_size"], data["classes"])
        for row in part[part["status"] == "ok"].itertuples():
            if row.params != counts[row.index]:
                yield f"{row.name} has {counts[row.index]} parameters, not {row.params}"
                break


@cache
def _parameter_counts(split: str, start: int, num: int, image_size: int, num_classes: int) -> NDArray[np.int64]:
    """Return the (num,) parameter counts of networks of a split, from the network `start` on."""
    networks = sample_networks(split, start, start + num)
    return count_parameters(networks.table.with_channels(networks.channels(image_size)), image_size, num_classes)


def _predictable_problems(submission: _Submission) -> Problems:
    """Check results that follow from settings, networks or parameter counts without a measurement."""
    protocol, settings, rows = submission.protocol, submission.settings, submission.finished
    for row in rows.to_dict("records"):
        known = protocol.known_value(settings, network_at(row["group"], row["index"]))
        if known is not None and float(row[known[0]]) != known[1]:
            yield f"{known[0]} of {row['name']} is {row[known[0]]}, but it must be {known[1]}"
    scores_are_counts = protocol.accepts_scorers and submission.record["model"]["name"] == "params"
    if scores_are_counts and (rows["score"].astype(float) != rows["params"]).any():
        yield "scores of params differ from the numbers of parameters"


# Each check relies on those before it, so the first that finds problems is the last one.
_CHECKS = (
    _form_problems,
    _name_problems,
    _hash_problems,
    _table_problems,
    _result_problems,
    _network_problems,
    _predictable_problems,
)


def _selection_problem(record: Record, others: dict[str, bytes]) -> str:
    """Return why the networks of a record are not the best of the run that it names, if that run is at hand."""
    selection = record.get("selection")
    table = None if selection is None else others.get(selection["run_id"])
    if selection is None or table is None:
        return ""
    best = best_groups(read_rows(table).to_dict("records"))
    return "" if best == tuple(record["networks"]) else f"its networks are not the best of {selection['run_id']}"


def find_clashes(records: Sequence[tuple[Record, bytes]]) -> Iterator[tuple[str, str]]:
    """Yield run_id and problem of records that contradict or copy an earlier one.

    Such a record repeats the results of the earlier one, uses its name for other weights or images, or gives its
    weights another name.
    """
    results: dict[tuple[str, str, str], str] = {}
    weights: dict[str, tuple[str | None, str]] = {}
    names: dict[str, tuple[str, str]] = {}
    images: dict[tuple[str, int], tuple[tuple[Sha256, int], str]] = {}
    for record, _ in records:
        name, model, data = record["run_id"], record["model"], record["dataset"]
        key = (record["rows_sha256"], model["name"], data["name"])
        if key in results:
            yield name, f"it is a duplicate of {results[key]}: the same results of the same model"
        results.setdefault(key, name)
        sha256, owner = weights.setdefault(model["name"], (model["weights_sha256"], name))
        if sha256 != model["weights_sha256"]:
            yield name, f"its weights differ from those of {owner}, which are called {model['name']} too"
        called = model["name"].removesuffix(ORTH_SUFFIX)
        known, owner = names.setdefault(model["weights_sha256"] or called, (called, name))
        if known != called:
            yield name, f"its weights are those of {owner}, which are called {known}"
        content = (data["sha256"], data["classes"])
        first_content, owner = images.setdefault((data["name"], data["image_size"]), (content, name))
        if first_content != content:
            yield name, f"its images differ from those of {owner}, which are called {data['name']} too"
    tables = {record["run_id"]: table for record, table in records}
    for record, _ in records:
        problem = _selection_problem(record, tables)
        if problem:
            yield record["run_id"], problem
    yield from find_copies(records)
