"""Evaluates a model on networks that it has never seen, and writes a record that can be put on a leaderboard.

A model gives networks their first parameters: it is an initialisation, or a graph hypernetwork (GHN), which predicts
the parameters of a network from its computational graph. A protocol says what is measured of networks that have them.

A first look (seconds), and the usual 900 networks (10 minutes on two CPU cores); nothing has to be downloaded:

    python -m benchmarks.run --model ghn3_t --split test --num 5
    python -m benchmarks.run --model ghn3_t

Initialisations, which are compared after some training (minutes on two CPU cores):

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

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, Literal

import torch
import tyro

from benchmarks.core.cli_options import unset
from benchmarks.core.evaluation_networks import EVALUATION_SPLITS, check_group
from benchmarks.core.protocol import Protocol
from benchmarks.execution.jobs import RunConfig, context
from benchmarks.execution.scheduler import RunFolder, compute
from benchmarks.initializers.ghn import ORTH_SUFFIX, Untrained, find_weights, is_ghn, load_predictor, parse_name
from benchmarks.initializers.model_help import MODEL_HELP
from benchmarks.protocols.registry import PROTOCOLS, get_protocol
from benchmarks.records.record import (
    Record,
    RecordError,
    explain_missing_values,
    make_record,
    read_rows,
    run_id,
    run_identity,
)
from benchmarks.records.record_files import read_record, write_record
from benchmarks.reporting.run_summary import summarize_failures, summarize_run
from benchmarks.scoring.scorers import SCORER_HELP
from benchmarks.studies import STUDIES
from benchmarks.studies.report import Request
from benchmarks.studies.report import make as make_study
from benchmarks.studies.study import Study
from deepnets.utils import provenance
from deepnets.utils.command_line import run_command
from deepnets.utils.errors import unknown_choice
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import ImageTask, load_images
from ghn_models.utils.device import check_device


@dataclass(frozen=True)
class Run:
    """What to evaluate.

    Args:
        model: what gives the networks their parameters, one of the list above, e.g. randinit, gradinit.100, ghn3_t.
        protocol: what is measured, one of the list above, or a study; all runs finetune, nas, no_finetune and transfer,
            one after the other; with other splits than torchvision74, nas needs --nas.truth.
        dataset: images: digits, cifar10, cifar100, fashion_mnist, cifar10-jpg, imagenet or folder; by default what the
            GHN was trained on, digits for other models and GHNs with random weights, pennfudan for detection. transfer
            is meant for images that the GHN was not trained on.
        data_dir: folder of the images, in the layout that the README says; digits need none.
        image_size: 32 or 224 pixels, which networks are built for; by default 224 for imagenet and detection, 32 for
            all others.
        split: which networks: splits of DeepNets-1M (train; val and test, which are alike; wide, deep and dense ones;
            bnfree, without batch norm; search; predefined), torchvision74 (PyTorch-74), or single ones such as
            resnet50, darts, vit, resnet50_bnfree, vit_b_16_gap, efficientnet_b0_relu, resnet1000 and vit_1_2b. Names
            with + between them, resnet50+resnet101, are an ensemble, whose logits are averaged. "all" means the usual
            ones of the protocol: torchvision74 for nas; resnet50, vit, darts, convnext_base and swin_t for transfer;
            resnet50, vit, darts, resnet101 and resnet152 for detection; test, wide, deep, dense and bnfree for
            no_finetune and finetune.
        num: how many networks of each split, the first ones; by default all, as with numbers above its size.
        repeats: how often each network is evaluated, each time with other random numbers; by default 3 for transfer and
            detection, 1 for all others.
        seed: seed of everything random but the networks, which are always the same.
        orth_layer: for models NAME_orth, and for analysis: the first layer that is made orthogonal, counted from 0 (the
            GHN-orth paper counts from 1).
        random_weights: for GHNs: evaluate one that is untrained, to try things out; not for leaderboards.
        device: cpu, cuda or cuda:N; by default a GPU if there is one.
        workers: processes on the CPU; by default one for each core.
        scheduler: address of a Dask scheduler, whose workers evaluate instead of local processes.
        out: folder of the run, or of the runs if the protocol is all; by default results/RUN_ID.
        plot: draw the distribution of accuracies, or for nas scores against truth.
    """

    model: str
    protocol: str = "no_finetune"
    dataset: Annotated[str | None, unset("STR")] = None
    data_dir: Annotated[Path | None, unset("PATH")] = None
    image_size: Annotated[Literal[32, 224] | None, unset("{32,224}")] = None
    split: tuple[str, ...] = ("all",)
    num: Annotated[int | None, unset("INT")] = None
    repeats: Annotated[int | None, unset("INT")] = None
    seed: int = 0
    orth_layer: int = 0
    random_weights: bool = False
    device: Annotated[str | None, unset("STR")] = None
    workers: Annotated[int | None, unset("INT")] = None
    scheduler: Annotated[str | None, unset("STR")] = None
    out: Annotated[Path | None, unset("PATH")] = None
    plot: bool = False


def run(options: Run, settings: Any, command: Sequence[str]) -> tuple[Path, Record]:
    """Evaluates a model, and returns the file of the record and the record.

    Args:
        options: what to evaluate.
        settings: options of the protocol.
        command: what the user typed, for the record.

    Raises:
        ValueError: an option that cannot be used, weights or images that are missing.
    """
    plan = plan_of(options, settings)
    folder = _folder(plan, options.out)
    rows = compute(plan, folder, options.scheduler, options.workers)
    made, table = make_record(plan, context(plan), rows, command)
    path = folder.path / f"{made['run_id']}.json"
    if not _is_written(path, made):
        write_record(folder.path, made, table)
    if options.plot:
        from benchmarks.reporting.run_plot import plot_run

        plot_run(folder.path, made, table)
    return path, made


def _folder(plan: RunConfig, out: Path | None) -> RunFolder:
    """Where the results are stored: they come from one kind of machine and one version of the code."""
    content = run_identity(plan, context(plan))
    where = {"device": plan.device, "versions": provenance.versions(), "commit": provenance.code_state()}
    return RunFolder(out or Path("results") / run_id(content), {**content, **where})


def _is_written(path: Path, made: Record) -> bool:
    """Whether the same record is there already, perhaps of another day."""
    try:
        found, _ = read_record(path)
    except RecordError:
        return False
    return bool(found.get("rows_sha256") == made["rows_sha256"])


def _check(plan: RunConfig, out: Path | None) -> None:
    """Raise ValueError if images, weights or files are missing or do not suit each other, or the folder is taken."""
    _folder(plan, out).check()
    here = context(plan)
    if isinstance(here.task, ImageTask):
        here.protocol.initializer_images(here.task, plan.settings, plan.seed)


def plan_of(options: Run, settings: Any) -> RunConfig:
    """What is evaluated on what, with the defaults that depend on model and protocol.

    Raises:
        ValueError: an option that cannot be used.
    """
    kind = get_protocol(options.protocol)
    groups = tuple(
        dict.fromkeys(g for name in options.split for g in (kind.default_groups if name == "all" else (name,)))
    )
    if not groups:
        raise ValueError("--split has no names; it needs one or more")
    for group in groups:
        check_group(group)
    kind.check_groups(settings, groups)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device is None else options.device
    check_device(device)
    for name, value in (("num", options.num), ("repeats", options.repeats), ("workers", options.workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    if options.repeats is not None and options.repeats > 100:
        raise ValueError(f"repeats is {options.repeats}; it must be 100 or less")
    for name, value in (("seed", options.seed), ("orth_layer", options.orth_layer)):
        if not 0 <= value < 2**63:
            raise ValueError(f"{name} is {value}; it must be from 0 to 2^63 - 1")
    if options.random_weights and not is_ghn(parse_name(options.model)[0]):
        raise ValueError(f"--random-weights is for GHNs, and {options.model} is none; accepted: as in --model ghn3_l")
    dataset = (kind.own_dataset or _trained_on(options)) if options.dataset is None else options.dataset
    plan = RunConfig(
        protocol=options.protocol,
        settings=settings,
        model=options.model,
        dataset=dataset,
        groups=groups,
        data_dir=None if options.data_dir is None else str(options.data_dir.resolve()),
        image_size=options.image_size or kind.default_image_size(dataset),
        num=options.num,
        seed=options.seed,
        repeats=options.repeats or kind.repeats,
        orth_layer=options.orth_layer,
        random_weights=options.random_weights,
        device=device,
    )
    _check_number(kind, plan.networks())
    return plan


def _check_number(kind: Protocol, networks: dict[str, int]) -> None:
    """Raise ValueError if no group has enough networks, nor have the evaluation splits, which count together, too."""
    together = sum(number for group, number in networks.items() if group in EVALUATION_SPLITS)
    if max(together, *networks.values()) < kind.min_networks:
        found = ", ".join(f"{number} of {group}" for group, number in networks.items())
        raise ValueError(f"{kind.name} needs {kind.min_networks} or more networks of a split; there are {found}")


def _trained_on(options: Run) -> str:
    """The data set that a GHN was trained on; digits for those that were not trained."""
    base, _ = parse_name(options.model)
    if options.random_weights or not is_ghn(base):
        return "digits"
    return str(checkpoints.about(find_weights(base)).get("dataset", "digits"))


_OF_STUDIES = ("model", "protocol", "seed", "random_weights", "image_size", "device", "out")


def study(options: Run, settings: Any, command: Sequence[str]) -> tuple[Path, str]:
    """Makes a study of a GHN, and returns its report and a summary.

    Raises:
        ValueError: an option that cannot be used or that studies do not have, weights or images that are missing.
    """
    kind = STUDIES[options.protocol]
    for option in fields(Run):
        used = option.name in (*_OF_STUDIES, *kind.options)
        if not used and getattr(options, option.name) != option.default:
            name = option.name.replace("_", "-")
            raise ValueError(f"{kind.name} has no --{name}; its own options begin with --{kind.name}.")
    if not is_ghn(options.model):
        raise ValueError(f"{kind.name} studies a GHN, not {options.model}; accepted: as in --model ghn3_t")
    plan = plan_of(replace(options, protocol="no_finetune"), None)
    images = load_images(plan.dataset, plan.data_dir, plan.image_size) if "dataset" in kind.options else None
    classes = 10 if images is None else images.num_classes
    untrained = Untrained(classes, plan.image_size, plan.seed) if plan.random_weights else None
    ghn = load_predictor(options.model, plan.device, untrained)
    request = Request(kind, settings, ghn, images, plan.seed, plan.image_size, plan.orth_layer, command)
    return make_study(request, options.out)


_EVERY = tuple(name for name, kind in PROTOCOLS.items() if kind.own_dataset is None)
"""Protocols that --protocol all runs."""


def _kinds() -> Iterator[tuple[str, Protocol | Study]]:
    yield from PROTOCOLS.items()
    yield from STUDIES.items()


def _runs(options: Any) -> Iterator[tuple[Run, Any]]:
    """Options and settings of each protocol that is to be run."""
    together = options.protocol == "all"
    if options.orth_layer and not parse_name(options.model)[1]:
        raise ValueError(
            f"--orth-layer is for GHNs that are made orthogonal, as ghn3_t{ORTH_SUFFIX}, not {options.model}"
        )
    for name in _EVERY if together else (options.protocol,):
        settings = getattr(options, name, None) or get_protocol(name).settings_class()
        out = options.out / name if options.out and together else options.out
        yield replace(options, protocol=name, out=out), settings


def _check_settings(options: Any) -> None:
    """Raise ValueError if there is no such protocol, or if there are options of one that is not run."""
    names = (*PROTOCOLS, *STUDIES, "all")
    if options.protocol not in names:
        raise ValueError(unknown_choice("protocol", options.protocol, names))
    used = _EVERY if options.protocol == "all" else (options.protocol,)
    for name, kind in _kinds():
        if name not in used and getattr(options, name, None) not in (None, kind.settings_class()):
            raise ValueError(f"there are options --{name}., which are for --protocol {name}, not {options.protocol}")


def options_class() -> type:
    """`Run` with the options of every protocol and study: --finetune.epochs and so on."""
    groups = [
        (
            name,
            Annotated[kind.settings_class, tyro.conf.arg(help=kind.about)],
            field(default_factory=kind.settings_class),
        )
        for name, kind in _kinds()
        if fields(kind.settings_class)
    ]
    return make_dataclass("Run", groups, bases=(Run,), frozen=True, namespace={"__doc__": Run.__doc__})


def main() -> int:
    """The command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    options = _parse_name()
    command = ["python", "-m", "benchmarks.run", *sys.argv[1:]]
    _check_settings(options)
    if options.protocol in STUDIES:
        report, text = study(options, getattr(options, options.protocol), command)
        print(f"{text}\nreport: {report}")
        return 0
    runs = list(_runs(options))
    for one, settings in runs:
        _check(plan_of(one, settings), one.out)  # what cannot be done is said before the first run
    for one, settings in runs:
        path, made = run(one, settings, command)
        rows = read_rows(read_record(path)[1])
        print(f"{summarize_run(made)}\n{summarize_failures(rows)}record: {path}")
        missing = explain_missing_values(made["results"], get_protocol(one.protocol))
        if missing:
            print(missing)
        elif made["status"] != "dev" and (rows["status"] == "ok").any():
            print(f"to put it on the leaderboard: python -m benchmarks.leaderboard submit {path.parent}")
    return 0


def _parse_name() -> Any:
    also = {name: f" (also {_flags(kind.options)})" if kind.options else "" for name, kind in STUDIES.items()}
    lists = {
        "Models": MODEL_HELP,
        "For --protocol nas also what gives networks scores": SCORER_HELP,
        "Protocols": "".join(f"{name:<12}  {kind.about}\n" for name, kind in PROTOCOLS.items()),
        f"Studies of a GHN, which accept {_flags(_OF_STUDIES)} and options of their own": "".join(
            f"{name:<12}  {kind.about}{also[name]}\n" for name, kind in STUDIES.items()
        ),
    }
    description = __doc__ + "".join(f"\n{head}:\n\n{indent(text, ' ' * 4)}" for head, text in lists.items())
    return tyro.cli(options_class(), prog="python -m benchmarks.run", description=description)


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
