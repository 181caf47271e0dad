"""Evaluates a model on networks that it has never seen, and writes a record that can be put on a leaderboard.

A model gives networks their first parameters: it is an initialization, or a graph hypernetwork (GHN), which predicts
the parameters of a network from its computational graph. A protocol says what is measured of networks that have them.

A first look (seconds), and the usual 900 networks (10 minutes on two CPU cores); nothing has to be downloaded:

    python -m benchmarks.run --model ghn3_t --split test --num 5
    python -m benchmarks.run --model ghn3_t

Initializations, which are compared after some training (minutes on two CPU cores):

    python -m benchmarks.run --model randinit --protocol finetune --split test --num 5 --finetune.lrs 0.1
    python -m benchmarks.run --model gradinit.5 --protocol finetune --split bnfree --num 5 --finetune.lrs 0.001

A GHN of yours, and images in a folder that you have (CPUs need hours, so use a GPU):

    python -m benchmarks.run --model runs/my_ghn/best --dataset cifar10 --data-dir data
    python -m benchmarks.run --model ghn3_t --protocol transfer --dataset cifar10 --data-dir data --split resnet50
    python -m benchmarks.run --model ghn3_t --protocol detection --data-dir PennFudanPed --split resnet50

Results of each network are stored at once: the same command goes on where an interrupted one stopped. At the end a
summary is printed, and the folder results/RUN_ID has the record (RUN_ID.json) and a table of all networks
(RUN_ID.csv.gz); `python -m benchmarks.leaderboard submit FOLDER` puts them on the leaderboard.
"""

# What runs and studies need is imported after the options are parsed, so that --help and --version are quick.
import sys
from collections.abc import Iterator, Sequence
from dataclasses import field, fields, make_dataclass, replace
from textwrap import indent
from typing import Annotated, Any

import tyro

from benchmarks.core.cli_options import RunOptions
from benchmarks.core.model_names import TRAINED_PREFIX
from benchmarks.core.protocol import Protocol
from benchmarks.initializers.model_help import MODEL_HELP
from benchmarks.protocols.presets import PRESETS, Preset, get_preset
from benchmarks.protocols.registry import PROTOCOLS, get_protocol
from benchmarks.scoring.scorer_help import SCORER_HELP
from benchmarks.studies.registry import STUDIES
from benchmarks.studies.study import Study
from deepnets.utils.command_line import command_line, run_command
from deepnets.utils.errors import InputError, unknown_choice

_ALL = tuple(name for name, protocol in PROTOCOLS.items() if protocol.own_dataset is None)
"""Protocols that --protocol all stands for."""
_PRESET, _PRESET_OPTIONS = "--preset", ("protocol", "dataset", "split", "repeats", "orth_layer")
_STUDY_OPTIONS = ("model", "protocol", "seed", "random_weights", "image_size", "device", "out")


def main() -> int:
    """Run the command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    options = _with_model(parse_options())
    command = ["python", "-m", "benchmarks.run", *sys.argv[1:]]
    _check_settings(options)
    return (_study if options.protocol in STUDIES else _evaluate)(options, command)


def parse_options(arguments: Sequence[str] | None = None) -> Any:
    """Parse a command line, by default that of this process.

    Returns:
        `RunOptions`, with the settings of each protocol and study as an attribute of its name. What the user does not
        give is as the preset says, if there is one.
    """
    typed = command_line(arguments)
    name = _typed_preset(typed)
    preset = None if name is None else get_preset(name)
    return tyro.cli(options_class(preset), args=typed, prog="python -m benchmarks.run", description=_description())


def _typed_preset(typed: Sequence[str]) -> str | None:
    """Return the value of --preset, which decides the defaults of other options."""
    for place, word in enumerate(typed):
        if word == _PRESET and place + 1 < len(typed):
            return typed[place + 1]
        if word.startswith(f"{_PRESET}="):
            return word.partition("=")[2]
    return None


def options_class(preset: Preset | None = None) -> type:
    """Return `RunOptions` with the options of every protocol and study: --finetune.epochs and so on.

    Args:
        preset: decides defaults; without one they are those of `RunOptions` and of the protocols.
    """
    own = {} if preset is None else {preset.protocol: preset.settings}
    groups: list[Any] = [
        (name, Annotated[settings, tyro.conf.arg(help=one.about)], field(default=own.get(name, settings())))
        for name, one in _protocols_and_studies()
        if fields(settings := one.settings_class)
    ]
    if preset is not None:
        types = {option.name: option.type for option in fields(RunOptions)}
        groups += [(name, types[name], field(default=getattr(preset, name))) for name in _PRESET_OPTIONS]
    return make_dataclass("Run", groups, bases=(RunOptions,), frozen=True, namespace={"__doc__": RunOptions.__doc__})


def _with_model(options: Any) -> Any:
    """Return the options with the model that --start-from stands for.

    Raises:
        InputError: there is no model, or there are two.
    """
    if bool(options.model) == (options.start_from is not None):
        raise InputError("give --model NAME, as ghn3_t, or --start-from RUN, the folder of a run with --save")
    if options.start_from is not None:
        options = replace(options, model=f"{TRAINED_PREFIX}{options.start_from}")
    is_orthogonal = options.model.endswith("_orth") or options.model == "orth"
    return options if is_orthogonal or options.preset is None else replace(options, orth_layer=0)


def _description() -> str:
    also = {name: f" (also {_flags(study.options)})" if study.options else "" for name, study in STUDIES.items()}
    lists = {
        "Models": MODEL_HELP,
        "For --protocol nas also what gives networks scores": SCORER_HELP,
        "Protocols": "".join(f"{name:<12}  {protocol.about}\n" for name, protocol in PROTOCOLS.items()),
        "Presets of --preset": "".join(f"{name}: {preset.source}\n" for name, preset in PRESETS.items()),
        f"Studies of a GHN, which accept {_flags(_STUDY_OPTIONS)} and options of their own": "".join(
            f"{name:<12}  {study.about}{also[name]}\n" for name, study in STUDIES.items()
        ),
    }
    return str(__doc__) + "".join(f"\n{head}:\n\n{indent(text, ' ' * 4)}" for head, text in lists.items())


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _protocols_and_studies() -> Iterator[tuple[str, Protocol[Any, Any] | Study[Any]]]:
    yield from PROTOCOLS.items()
    yield from STUDIES.items()


def _check_settings(options: Any) -> None:
    """Raise InputError if there is no such protocol, or if there are options of one that is not run."""
    names = (*PROTOCOLS, *STUDIES, "all")
    if options.protocol not in names:
        raise InputError(unknown_choice("protocol", options.protocol, names))
    used = _ALL if options.protocol == "all" else (options.protocol,)
    preset = None if options.preset is None else get_preset(options.preset)
    if preset is not None and options.protocol != preset.protocol:
        raise InputError(f"{options.preset} is a preset of {preset.protocol}, not of {options.protocol}")
    for name, one in _protocols_and_studies():
        if name not in used and getattr(options, name, None) not in (None, one.settings_class()):
            raise InputError(f"there are options --{name}., which are for --protocol {name}, not {options.protocol}")


def _study(options: Any, command: Sequence[str]) -> int:
    """Make a study and print its summary."""
    from benchmarks.evaluation import make_study_report

    study = STUDIES[options.protocol]
    for option in fields(RunOptions):
        accepted = option.name in (*_STUDY_OPTIONS, *study.options)
        if not accepted and getattr(options, option.name) != option.default:
            raise InputError(f"{study.name} has no {_flags([option.name])}; its own options begin with --{study.name}.")
    report, text = make_study_report(study, options, getattr(options, study.name), command)
    print(f"{text}\nreport: {report}")
    return 0


def _evaluate(options: Any, command: Sequence[str]) -> int:
    """Evaluate a model with one protocol or all, and print the results of each."""
    from benchmarks.evaluation import check_run, evaluate_run, load_run_context, run_config

    runs = [(one, run_config(one, settings)) for one, settings in _runs(options)]
    for one, config in runs:  # what cannot be done is said before the first run
        context = load_run_context(config)
        check_run(context, one.out)
    for one, config in runs:
        if config is not context.config:  # only one model is kept in memory
            context = load_run_context(config)
        _print_results(*evaluate_run(context, one, command))
    return 0


def _runs(options: Any) -> Iterator[tuple[RunOptions, Any]]:
    """Yield the options and settings of each protocol that is to be run."""
    from benchmarks.initializers.ghn import ORTH_SUFFIX, parse_name

    is_all = options.protocol == "all"
    if options.orth_layer and options.model != "orth" and not parse_name(options.model)[1]:
        raise InputError(
            f"--orth-layer is for orth and for GHNs that are made orthogonal, as ghn3_t{ORTH_SUFFIX}, not "
            f"{options.model}"
        )
    for name in _ALL if is_all else (options.protocol,):
        settings = getattr(options, name, None) or get_protocol(name).settings_class()
        out = options.out / name if options.out and is_all else options.out
        yield replace(options, protocol=name, out=out), settings


def _print_results(path: Any, record: Any) -> None:
    from benchmarks.records.record import explain_missing_values, read_rows
    from benchmarks.records.record_files import read_record
    from benchmarks.reporting.run_summary import summarize_failures, summarize_run

    rows = read_rows(read_record(path)[1])
    print(f"{summarize_run(record)}\n{summarize_failures(rows)}record: {path}")
    missing = explain_missing_values(record["results"], get_protocol(record["protocol"]["name"]))
    if missing:
        print(missing)
    elif record["status"] != "dev" and (rows["status"] == "ok").any():
        print(f"to put it on the leaderboard: python -m benchmarks.leaderboard submit {path.parent}")


if __name__ == "__main__":
    sys.exit(main())
