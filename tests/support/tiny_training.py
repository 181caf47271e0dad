"""A training run of seconds: its recipe, its trainer, and what it logs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ghn_models import GHN
from ghn_models.images.datasets import load_images
from ghn_models.training import step
from ghn_models.training.architecture_pool import ArchitecturePool, SizeLimits
from ghn_models.training.distributed import ProcessGroup
from ghn_models.training.recipes import RECIPES, Recipe
from ghn_models.training.trainer import Trainer
from ghn_models.training.training_log import LOG
from tests.support.small_ghns import KINDS

TINY = replace(
    RECIPES["laptop"],
    steps=6,
    meta_batch_size=2,
    batch_size=16,
    warmup=0.25,
    limits=SizeLimits((5, 5), (70, 90), (3e5, 3e5), (32, 32)),
    num_architectures=2000,
    validate_every=3,
    validation_networks=1,
    validation_images=10,
)
TIMES = ("seconds_per_step", "images_per_second", "networks_per_second")
ORIGINAL_RUN = step.run


def tiny_trainer(
    folder: Path, recipe: Recipe = TINY, kind: str = "ghn3", processes: ProcessGroup | None = None
) -> Trainer:
    """Return a trainer of a small GHN on digits, whose weights are always the same."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    pool = ArchitecturePool(None, recipe.num_architectures, 32, 10, seed=0)
    return Trainer(
        GHN(KINDS[kind]), load_images("digits"), recipe, pool, folder, 0, {"model": kind}, processes or ProcessGroup()
    )


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a log without those values that depend on the machine's speed."""
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def bad_run(bad: set[int]) -> Any:
    """`run` with a loss that is not finite for some of its calls."""
    calls = iter(range(10_000))

    def run(module: torch.nn.Module, parameters: dict[str, Tensor], images: Tensor, amp: bool) -> Tensor:
        logits = ORIGINAL_RUN(module, parameters, images, amp)
        return logits * torch.nan if next(calls) in bad else logits

    return run


def save_checkpoint(trainer: Trainer) -> None:
    """Save a checkpoint of this step, with an accuracy of 0.5."""
    trainer.checkpoints.save(trainer.step, 0.5, trainer.counts, trainer.bad_steps, trainer.about)
