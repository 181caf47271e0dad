"""Evaluation of a model, from the options of `benchmarks.run` to a record or the report of a study."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.core.cli_options import RunOptions
from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, check_group
from benchmarks.core.protocol import Protocol
from benchmarks.execution.run_config import Outputs, RunConfig
from benchmarks.execution.run_context import RunContext, load_run_context
from benchmarks.execution.run_folder import RunFolder
from benchmarks.execution.scheduler import compute
from benchmarks.execution.selection import select_best
from benchmarks.initializers.ghn import Untrained, find_weights, is_ghn, load_predictor, parse_name
from benchmarks.protocols.registry import get_protocol
from benchmarks.records.record import Record, RecordError, make_record, run_id, run_identity
from benchmarks.records.record_files import read_record, write_record
from benchmarks.studies.report import StudyRequest, run_study
from benchmarks.studies.study import Study
from deepnets.utils import provenance
from deepnets.utils.errors import InputError
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import load_images
from ghn_models.utils.device import device_or_default

__all__ = ["check_run", "evaluate_run", "load_run_context", "make_study_report", "run_config"]

_MAX_REPEATS = 100


def run_config(options: RunOptions, settings: Any) -> RunConfig:
    """Return the configuration of a run, with the defaults that depend on model and protocol.

    Args:
        options: options of the command line.
        settings: options of the protocol.

    Raises:
        InputError: an option that cannot be used.
    """
    protocol = get_protocol(options.protocol)
    groups, selection = _groups(protocol, options.split), None
    if options.select_from is not None:
        groups, selection = select_best(options.select_from)
    protocol.check_groups(settings, groups, options.networks_from is not None)
    device = device_or_default(options.device)
    _check_numbers(options)
    _check_outputs(options, protocol)
    if options.random_weights and not is_ghn(parse_name(options.model)[0]):
        raise InputError(f"--random-weights is for GHNs; {options.model} is not one; accepted: as in --model ghn3_l")
    dataset = (protocol.own_dataset or _trained_on(options)) if options.dataset is None else options.dataset
    config = RunConfig(
        protocol=options.protocol,
        settings=settings,
        model=options.model,
        dataset=dataset,
        groups=groups,
        data_dir=None if options.data_dir is None else str(options.data_dir.resolve()),
        image_size=options.image_size or protocol.default_image_size(dataset),
        num=options.num,
        seed=options.seed,
        repeats=options.repeats or protocol.repeats,
        orth_layer=options.orth_layer,
        random_weights=options.random_weights,
        device=device,
        networks_from=None if options.networks_from is None else str(options.networks_from.resolve()),
        selection=selection,
    )
    _check_enough_networks(protocol, config.networks())
    return config


def _groups(protocol: Protocol[Any, Any], names: Sequence[str]) -> tuple[str, ...]:
    """Return the groups that --split names, each once; "all" stands for those of the protocol."""
    groups = [group for name in names for group in (protocol.default_groups if name == "all" else (name,))]
    if not groups:
        raise InputError("--split has no names; it needs one or more")
    for group in groups:
        check_group(group)
    return tuple(dict.fromkeys(groups))


def _check_numbers(options: RunOptions) -> None:
    for name, value in (("num", options.num), ("repeats", options.repeats), ("workers", options.workers)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be 1 or more")
    if options.repeats is not None and options.repeats > _MAX_REPEATS:
        raise InputError(f"repeats is {options.repeats}; it must be {_MAX_REPEATS} or less")
    for name, value in (("seed", options.seed), ("orth_layer", options.orth_layer)):
        if not 0 <= value < 2**63:
            raise InputError(f"{name} is {value}; it must be from 0 to 2^63 - 1")


def _check_outputs(options: RunOptions, protocol: Protocol[Any, Any]) -> None:
    if not options.state_every >= 0:
        raise InputError(f"state_every is {options.state_every}; it must be 0 or more")
    for name in ("curves", "save"):
        if getattr(options, name) and not protocol.trains:
            raise InputError(f"--{name} is for protocols that train networks of images, not {protocol.name}")


def _trained_on(options: RunOptions) -> str:
    """Return the data set that a GHN was trained on; digits for other models."""
    base, _ = parse_name(options.model)
    if options.random_weights or not is_ghn(base):
        return "digits"
    return str(checkpoints.read_metadata(find_weights(base)).get("dataset", "digits"))


def _check_enough_networks(protocol: Protocol[Any, Any], networks: Mapping[str, int]) -> None:
    """Raise InputError if the protocol needs more networks than any group has; evaluation splits count together."""
    together = sum(number for group, number in networks.items() if group in EVALUATION_SPLITS)
    if max(together, *networks.values()) < protocol.min_networks:
        counts = ", ".join(f"{number} of {group}" for group, number in networks.items())
        raise InputError(
            f"{protocol.name} needs {protocol.min_networks} or more networks of a split; there are {counts}"
        )


def check_run(context: RunContext, out: Path | None) -> None:
    """Raise InputError if the images do not suit the settings, or the folder has another run."""
    _run_folder(context, out).check()
    context.protocol.initializer_images(context.task, context.config.settings, context.config.seed)


def evaluate_run(context: RunContext, options: RunOptions, command: Sequence[str]) -> tuple[Path, Record]:
    """Evaluate a model, write the record, and return its file and the record.

    Args:
        context: protocol, data and initializer of the run.
        options: options of the command line, for the folder, the workers and the plot.
        command: the command line, for the record.

    Raises:
        InputError: the folder has another run, or no scheduler answers.
    """
    folder = _run_folder(context, options.out)
    outputs = Outputs(str(folder.path.resolve()), options.state_every, options.curves, options.save)
    context = replace(context, config=replace(context.config, outputs=outputs))
    rows = compute(context, folder, options.scheduler, options.workers)
    record, table = make_record(context.config, context, rows, command)
    path = folder.path / f"{record['run_id']}.json"
    if not _is_written(path, record):
        write_record(folder.path, record, table)
    if options.plot:
        from benchmarks.reporting.run_plot import plot_run

        plot_run(folder.path, record, table)
    return path, record


def _run_folder(context: RunContext, out: Path | None) -> RunFolder:
    """Return the folder of the results, which come from one kind of machine and one version of the code."""
    identity = run_identity(context.config, context)
    origin = {"device": context.config.device, "versions": provenance.versions(), "commit": provenance.code_state()}
    return RunFolder((out or Path("results") / run_id(identity)).expanduser(), {**identity, **origin})


def _is_written(path: Path, record: Record) -> bool:
    """Return whether the same record exists already, perhaps of another day."""
    try:
        existing, _ = read_record(path)
    except RecordError:
        return False
    return bool(existing.get("rows_sha256") == record["rows_sha256"])


def make_study_report(
    study: Study[Any], options: RunOptions, settings: Any, command: Sequence[str]
) -> tuple[Path, str]:
    """Make a study of a GHN, and return its report and a summary.

    Args:
        study, settings: the study and its options.
        options: options of the command line.
        command: the command line, for the report.

    Raises:
        InputError: an option that cannot be used, weights or images that are missing.
    """
    if not is_ghn(options.model):
        raise InputError(f"{study.name} studies a GHN, not {options.model}; accepted: as in --model ghn3_t")
    config = run_config(replace(options, protocol="no_finetune"), None)
    images = load_images(config.dataset, config.data_dir, config.image_size) if "dataset" in study.options else None
    classes = 10 if images is None else images.num_classes
    untrained = Untrained(classes, config.image_size, config.seed) if config.random_weights else None
    ghn = load_predictor(options.model, config.device, untrained)
    request = StudyRequest(study, settings, ghn, images, config.seed, config.image_size, config.orth_layer, command)
    return run_study(request, options.out)
