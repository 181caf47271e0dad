"""The training loop: resumable, on one process or several."""

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from deepnets.sampling.sampler import sample_networks
from deepnets.utils.errors import InputError
from ghn_models.hypernetwork import GHN
from ghn_models.images.datasets import ImageTask
from ghn_models.training.architecture_pool import ArchitecturePool, TrainingNetwork, training_networks
from ghn_models.training.calibration import calibrate
from ghn_models.training.distributed import ProcessGroup
from ghn_models.training.recipes import Recipe
from ghn_models.training.run_checkpoints import RunCheckpoints
from ghn_models.training.step import Batch, StepStats, accumulate, accuracies
from ghn_models.training.training_log import TrainingLog
from ghn_models.training.weight_average import WeightAverage

_LOG_EVERY = 50
_CALIBRATION_NETWORKS = 16
_MAX_BAD_STEPS = 50


class TrainingError(InputError):
    """A run that cannot go on; the message is one sentence for the user."""


class Trainer:
    """Trains a GHN on an image classification task (DeepNets paper, Eq. 2 and section B.2.3).

    Step s depends on (seed, s) and the weights alone: which networks, which images, and what dropout does. So a run
    that is resumed, or split over processes, goes on as if it were one.

    Args:
        ghn: the GHN, on its device.
        task: images, on the same device.
        recipe: optimizer, schedule and sizes.
        pool: architectures to train on.
        folder: folder of the run, for its log and checkpoints.
        seed: seed of the images, the dropout and the order of networks.
        about: metadata that checkpoints record, such as model and data.
        processes: the group of processes that share the run.
        start: checkpoint of another run; a new run starts with its weights and optimizer.

    Raises:
        TrainingError: there are more processes than networks in a meta-batch.
    """

    def __init__(
        self,
        ghn: GHN,
        task: ImageTask,
        recipe: Recipe,
        pool: ArchitecturePool,
        folder: Path,
        seed: int,
        about: dict[str, Any],
        processes: ProcessGroup,
        start: Path | None = None,
    ) -> None:
        self.ghn, self.task, self.recipe, self.pool = ghn, task, recipe, pool
        self.folder, self.seed, self.about, self.processes = folder, seed, about, processes
        self.start = start
        optimizers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        self.optimizer = optimizers[recipe.optimizer](
            ghn.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.average = WeightAverage(ghn, recipe.average)
        self.half = task.train.resized(task.image_size // 2) if max(recipe.small_images) > 0 else task.train
        if recipe.meta_batch_size < processes.size:
            raise TrainingError(
                f"{processes.size} processes share meta-batches of {recipe.meta_batch_size} networks; accepted: no "
                "more processes than networks"
            )
        count = recipe.validation_images
        self.validation = task.val if count is None else task.val.class_balanced_subset(count)
        self.step, self.bad_steps = 0, 0
        self.log = TrainingLog(folder) if processes.rank == 0 else None
        self.checkpoints = RunCheckpoints(folder, ghn, self.optimizer, self.average)
        self.counts = {"non_finite": 0, "out_of_memory": 0, "skipped_steps": 0}
        self.gradient_norms: list[float] = []  # before clipping, since the last line of the log

    def run(self) -> None:
        """Train from the latest checkpoint to the end.

        Raises:
            TrainingError: 50 steps in a row had no network with a finite loss and gradient.
        """
        self._resume()
        self.shared = self._shared_batches()
        gc.freeze()  # otherwise the garbage collector scans all imported modules after every few networks
        start, first = time.perf_counter(), self.step
        recent, images, spent = StepStats(), 0, 0.0
        bar = tqdm(
            total=self.recipe.steps, initial=self.step, disable=self.processes.rank > 0, unit="step", smoothing=0.05
        )
        while self.step < self.recipe.steps:
            begin = time.perf_counter()
            stats, seen = self._one_step()
            spent += time.perf_counter() - begin
            self.step += 1
            recent.add(stats)
            images += seen
            bar.update()
            if self.step % _LOG_EVERY == 0 or self.step == self.recipe.steps:
                self._log_progress(recent, images, spent, (time.perf_counter() - start) / (self.step - first), bar)
                recent, images, spent = StepStats(), 0, 0.0
            if self.step % self.recipe.validate_every == 0 or self.step == self.recipe.steps:
                with self.average.in_place():
                    self._validate_and_save()
        bar.close()

    def _one_step(self) -> tuple[StepStats, int]:
        recipe, processes = self.recipe, self.processes
        share = slice(processes.rank, None, processes.size)
        networks = self.pool.sample(self.step, recipe.meta_batch_size, recipe.limits, recipe.progress(self.step), share)
        slots = range(recipe.meta_batch_size)[share]
        if recipe.same_images:
            batches = [next(self.shared)] * len(networks)
        else:
            batches = [self._images(network, slot) for network, slot in zip(networks, slots, strict=True)]
        seeds = [int(np.random.default_rng([self.seed, self.step, slot, 1]).integers(2**62)) for slot in slots]
        self.optimizer.zero_grad(set_to_none=False)
        stats = accumulate(self.ghn, networks, batches, seeds, recipe.objective, 1 / recipe.meta_batch_size)
        used = self._reduce(len(stats.losses))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * recipe.lr_factor(self.step)
        norm = torch.nn.utils.clip_grad_norm_(self.ghn.parameters(), recipe.clip)
        if used and torch.isfinite(norm):
            self.gradient_norms.append(norm.item())
            self.optimizer.step()
            self.average.update(self.step)
            self.bad_steps = 0
        else:
            self.counts["skipped_steps"] += 1
            self.bad_steps += 1
            if self.bad_steps >= _MAX_BAD_STEPS:
                raise TrainingError(
                    f"no network of the last {_MAX_BAD_STEPS} meta-batches had a finite loss and gradient; the GHN has "
                    "diverged, so try a smaller learning rate"
                )
        return stats, sum(len(labels) for _, labels in batches)

    def _reduce(self, used: int) -> int:
        """Sum gradients over processes, and return the number of networks that they come from."""
        parameters = [p for p in self.ghn.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.processes.size == 1:
            return used
        count = parameters[0].new_tensor([used])
        flat = self.processes.sum(torch.cat([*(p.grad.flatten() for p in parameters if p.grad is not None), count]))
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters] + [1])[:-1], strict=True):
            parameter.grad = part.view_as(parameter)
        return int(flat[-1].item())

    def _shared_batches(self) -> Iterator[Batch]:
        """Yield the batches that the networks of a meta-batch share, from the next step on; images do not repeat."""
        recipe, images = self.recipe, self.task.train
        epoch, start = divmod(self.step, images.steps(recipe.batch_size))
        while True:
            yield from images.shuffled(recipe.batch_size, self.seed, epoch, start, recipe.crop, self.task.flip)
            epoch, start = epoch + 1, 0

    def _images(self, network: TrainingNetwork, slot: int) -> Batch:
        """Sample a batch for one network."""
        recipe = self.recipe
        rng = np.random.default_rng([self.seed, self.step, slot])
        share = recipe.small_images
        small = rng.random() < share[0] + (share[1] - share[0]) * recipe.progress(self.step)
        whole = network.architecture.is_vit or not network.architecture.glob_avg
        if small and not whole:
            return self.half.sample(recipe.batch_size, rng, recipe.crop // 2, self.task.flip)
        count = recipe.batch_size // 4 if max(share) > 0 else recipe.batch_size
        return self.task.train.sample(count, rng, recipe.crop, self.task.flip)

    def _log_progress(self, recent: StepStats, images: int, spent: float, seconds_per_step: float, bar: Any) -> None:
        sums = torch.tensor(
            [
                *(sum(recent.losses), sum(recent.accuracies), len(recent.losses)),
                *(recent.non_finite, recent.out_of_memory, images),
            ],
            dtype=torch.float64,
        )
        device = next(self.ghn.parameters()).device
        loss, right, used, non_finite, oom, images_all = self.processes.sum(sums.to(device)).tolist()
        self.counts["non_finite"] += int(non_finite)
        self.counts["out_of_memory"] += int(oom)
        line = {
            "step": self.step,
            "loss": loss / max(used, 1),
            "accuracy": right / max(used, 1),
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds_per_step": seconds_per_step,
            "images": int(images_all),
            "images_per_second": images_all / spent,
            "networks_per_second": (used + non_finite + oom) / spent,
            "gradient_norm_mean": float(np.mean(self.gradient_norms or [0.0])),
            "gradient_norm_std": float(np.std(self.gradient_norms or [0.0])),
            **self.counts,
        }
        self.gradient_norms.clear()
        if self.log is not None:
            self.log.write(line)
        bar.set_postfix(loss=f"{line['loss']:.3f}", accuracy=f"{line['accuracy']:.3f}")

    def _validate_and_save(self) -> None:
        """Save a checkpoint with its accuracy on validation networks, of which each process evaluates a share."""
        networks = validation_networks(self.task, self.recipe.validation_networks)
        mine = networks[self.processes.rank :: self.processes.size]
        right = accuracies(self.ghn, mine, self.validation.batches(), self.recipe.objective.amp)
        device = next(self.ghn.parameters()).device
        value = self.processes.sum(torch.tensor(sum(right), dtype=torch.float64, device=device)).item() / len(networks)
        if self.log is not None:
            self.log.write({"step": self.step, "val_accuracy": value})
            self.checkpoints.save(self.step, value, self.counts, self.bad_steps, self.about)

    def _resume(self) -> None:
        latest = self.checkpoints.latest()
        if self.log is not None:
            self.log.drop_after(0 if latest is None else latest.step)
        if latest is None:
            self._start()
            return
        self.checkpoints.load(self.folder / latest.folder, averaged=True, optimizer_sha256=latest.optimizer_sha256)
        self.step, self.counts, self.bad_steps = latest.step, latest.counts, latest.bad_steps
        if self.processes.rank == 0:
            self.checkpoints.remove_others(latest)

    def _start(self) -> None:
        """Take the weights and the optimizer of another run, or scale the new weights."""
        if self.start is not None:
            self.checkpoints.load(self.start, averaged=False)
        elif self.recipe.weight_scale is not None:
            networks = self.pool.sample(0, _CALIBRATION_NETWORKS, self.recipe.limits, 0.0)
            calibrate(self.ghn, networks, self.recipe.weight_scale)
            self.average.restart()


def validation_networks(task: ImageTask, count: int) -> list[TrainingNetwork]:
    """Return the first networks of the val split, at 32 channels."""
    table = sample_networks("val", 0, count).table
    narrow = [replace(table[i], channels=32) for i in range(count)]
    return training_networks(narrow, task.image_size, task.num_classes)
