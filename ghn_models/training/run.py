"""A training run from its options to the folder of the best checkpoint."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from deepnets.datasets.generation import split_path
from deepnets.utils import provenance
from deepnets.utils.errors import InputError, unknown_choice
from deepnets.utils.run_directory import RunDirectory
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.images.datasets import ImageTask, load_images
from ghn_models.registry import create
from ghn_models.training.architecture_pool import ArchitecturePool
from ghn_models.training.curves import plot_curves
from ghn_models.training.distributed import ProcessGroup
from ghn_models.training.options import TrainOptions
from ghn_models.training.recipes import RECIPES, Recipe
from ghn_models.training.run_checkpoints import LATEST, OPTIMIZER
from ghn_models.training.trainer import Trainer
from ghn_models.utils.cpu_kernels import keep_primitives
from ghn_models.utils.device import device_or_default


def train(options: TrainOptions) -> Path:
    """Train to the end of the recipe, and return the folder of the best checkpoint.

    Raises:
        InputError: an option that cannot be used, data that is missing, or a run that diverged.
    """
    keep_primitives()
    if not 0 <= options.seed < 2**63:
        raise InputError(f"seed is {options.seed}; it must be from 0 to 2^63 - 1")
    device, processes = _join_processes(options.device)
    options = replace(options, recipe=recipe_name(options))
    recipe = _recipe(options, device)
    task = load_images(options.dataset, options.data_dir, options.image_size)
    _check_images(recipe, options, len(task.train))
    torch.manual_seed(options.seed)
    ghn = create(options.model, task.num_classes, task.image_size).to(device)
    name = f"{options.model}_{options.dataset}_{options.recipe}_{options.seed}"
    out = (options.out or Path("runs") / name).expanduser()
    start = None if options.start is None else options.start.expanduser()
    about = _about(options, recipe, task)
    if start is not None:
        about["start"] = _started_from(start, options.model)
    RunDirectory(out, _identity(about), "run").check()  # before architectures are sampled, which takes a while
    pool = _pool(options, recipe, task, quiet=processes.rank > 0)
    about["architectures_sha256"] = pool.sha256()
    with RunDirectory(out, _identity(about), "run").locked() if processes.rank == 0 else nullcontext():
        if processes.size > 1:
            dist.barrier()
        trainer = Trainer(ghn, task.to(device), recipe, pool, out, options.seed, about, processes, start)
        trainer.run()
        if processes.rank == 0:
            _copy_best(out)
            if options.plot:
                plot_curves(out)
    return out / "best"


def _join_processes(device: str | None) -> tuple[str, ProcessGroup]:
    """Join the processes that torchrun started, and return the device of this one and their group."""
    name = device_or_default(device)
    processes = ProcessGroup.join(name)
    if name == "cuda" and processes.size > 1:
        name = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return name, processes


def _pool(options: TrainOptions, recipe: Recipe, task: ImageTask, quiet: bool) -> ArchitecturePool:
    return ArchitecturePool(
        root=_root(options.root),
        num=recipe.num_architectures,
        image_size=task.image_size,
        num_classes=task.num_classes,
        seed=options.seed,
        ghn3_imagenet_widths=recipe.wider,
        quiet=quiet,
    )


def _root(root: Path | None) -> Path:
    """Return the folder of the train split; a folder that the user names must have the file."""
    if root is not None and not (path := split_path(root, "train")).is_file():
        raise InputError(f"there is no {path}; deepnets generate --split train --root {root} makes it")
    return (root or Path("data")).expanduser()


def _started_from(folder: Path, model: str) -> dict[str, Any]:
    """Return what identifies the checkpoint of another run that this run starts from.

    Raises:
        InputError: it is of another model, or has no optimizer.
    """
    about = checkpoints.read_metadata(folder)
    if about.get("model") != model:
        raise InputError(f"{folder} has weights of {about.get('model')}, not of {model}")
    if not (folder / OPTIMIZER).is_file():
        raise InputError(f"{folder} has no {OPTIMIZER}; give a folder step_N of a training run (--start)")
    return {key: about.get(key) for key in ("weights_sha256", "step", "recipe", "seed")}


def _copy_best(out: Path) -> None:
    """Copy the best checkpoint to the folder best, which is complete or unchanged at any time."""
    best, partial = out / "best", out / "best.partial"
    shutil.rmtree(partial, ignore_errors=True)
    chosen = out / json.loads((out / LATEST).read_text())["best"]
    shutil.copytree(chosen, partial, ignore=shutil.ignore_patterns("optimizer.*"))
    shutil.rmtree(best, ignore_errors=True)
    partial.rename(best)


def recipe_name(options: TrainOptions) -> str:
    """Return the name of the recipe: on ImageNet, that of a paper with the settings for ImageNet.

    Raises:
        InputError: there is no such recipe.
    """
    if options.recipe not in RECIPES:
        raise InputError(unknown_choice("recipe", options.recipe, RECIPES))
    large = f"{options.recipe}_imagenet"
    return large if options.dataset == "imagenet" and large in RECIPES else options.recipe


def _recipe(options: TrainOptions, device: str) -> Recipe:
    """Return the recipe with the changes that options ask for."""
    recipe = RECIPES[recipe_name(options)]
    changed, objective = _changes(options, _RECIPE_OPTIONS), _changes(options, _OBJECTIVE_OPTIONS)
    # 98% of random meta-batches of 16 networks have more nodes than those of 8 may have.
    networks = changed.get("meta_batch_size", recipe.meta_batch_size)
    nodes = recipe.limits.meta_batch_nodes * max(networks, recipe.meta_batch_size) // recipe.meta_batch_size
    limits = replace(recipe.limits, meta_batch_nodes=nodes)
    fast = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    amp = fast or recipe.objective.amp if options.amp == "auto" else options.amp == "on"
    return replace(recipe, **changed, limits=limits, objective=replace(recipe.objective, **objective, amp=amp))


_POSITIVE = ("steps", "meta_batch_size", "lr", "batch_size", "num_architectures", "validation_networks")
_SHARES = ("label_smoothing", "average")
_OBJECTIVE_OPTIONS = ("gamma", "penalty", "label_smoothing")
_RECIPE_OPTIONS = (*_POSITIVE, "weight_decay", "average")
"""Options that change a recipe, and its objective."""


def _changes(options: TrainOptions, names: Sequence[str]) -> dict[str, Any]:
    """Return the options of these names that the user gave.

    Raises:
        InputError: a number that cannot be used.
    """
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    for name, value in given.items():
        if name in _POSITIVE and not 0 < value < float("inf"):
            raise InputError(f"{name} is {value}; it must be a finite number above 0")
        if name in _SHARES and not 0 <= value < 1:
            raise InputError(f"{name} is {value}; it must be from 0 to below 1")
        if name in ("weight_decay", "gamma") and not 0 <= value < float("inf"):
            raise InputError(f"{name} is {value}; it must be a finite number, 0 or more")
    return given


def _check_images(recipe: Recipe, options: TrainOptions, images: int) -> None:
    """Raise InputError if a recipe's steps are epochs of another number of images, unless the user gives steps."""
    if options.steps is None and not recipe.fits(images):
        raise InputError(
            f"the {recipe.steps} steps of {options.recipe} are for about {recipe.train_images} training images, and "
            f"{options.dataset} has {images}; give --steps, or another recipe"
        )


def _about(options: TrainOptions, recipe: Recipe, task: ImageTask) -> dict[str, Any]:
    """Return what a checkpoint says of its training, except for the digest of the architectures."""
    return {
        "model": options.model,
        "dataset": options.dataset,
        "image_size": task.image_size,
        "classes": list(task.classes),
        "train_sha256": task.train.sha256(),
        "mean": task.train.mean.tolist(),
        "std": task.train.std.tolist(),
        "recipe": options.recipe,
        "settings": asdict(recipe),
        "seed": options.seed,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def _identity(about: dict[str, Any]) -> dict[str, Any]:
    """Return what must be equal when a run is resumed, one by one, so that a message can name what differs."""
    same = {k: v for k, v in about.items() if k not in ("versions", "commit", "settings")}
    return same | {f"settings.{k}": v for k, v in about["settings"].items()}
