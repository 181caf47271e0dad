"""Training of single networks; it can be killed at any moment and goes on with the same result."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.training.config import TrainingConfig, Trial
from benchmarks.training.job_folder import JobFolder, SavedState
from benchmarks.training.optimizers import lr_factor, make_optimizer, set_lr
from deepnets.networks.network import Network
from ghn_models.images.splits import ImageSplit

_CROP = 4
_WINDOW = 100
_STATE = ("step", "ended", "finite", "loss", "right", "on_target", "converged", "first_norm", "curve")
CurveLine = dict[str, Any]
"""An epoch: its number, the steps so far, mean loss and accuracy of its training batches, and of other images."""


@dataclass(frozen=True)
class TrainingPlan:
    """All that a training depends on but the network and the images.

    Args:
        config: options.
        trial: hyperparameters.
        batch_size: that of the options, or less if memory was short.
        seed: seed of the order of images, their augmentation and dropout.
        flip: mirror half of the images.
    """

    config: TrainingConfig
    trial: Trial
    batch_size: int
    seed: int
    flip: bool


@dataclass(frozen=True)
class Outcome:
    """Outcome of a training.

    Args:
        finite: all losses were finite; training ends with the first loss that is not.
        steps: that were made.
        converged: steps until the training accuracy over 100 batches, or an epoch if that is shorter, reached the
            target; all steps if it never did.
        initial_gradient_norm: L2 norm of the gradient of the first batch (GHN-3 paper, Table 13); 0 if not finite.
        curve: a line for each epoch.
    """

    finite: bool
    steps: int
    converged: int = 0
    initial_gradient_norm: float = 0.0
    curve: list[CurveLine] = field(default_factory=list)


def train_network(
    model: nn.Module,
    images: ImageSplit,
    plan: TrainingPlan,
    folder: JobFolder | None = None,
    name: str = "training",
    validate: Callable[[nn.Module], float] | None = None,
) -> Outcome:
    """Train a network in place; images are augmented as in `epochs_of`.

    Args:
        model: the network.
        images: to train on.
        plan: how.
        folder: where states are stored; a state that is there is resumed.
        name: name of this training in the folder.
        validate: returns the accuracy of the network after an epoch, for the curve.
    """
    return _Training(model, images, plan, folder, name, validate).run()


class _Training:
    """A training with its state: network, optimizer, random numbers, and sums over the epoch."""

    def __init__(
        self,
        model: nn.Module,
        images: ImageSplit,
        plan: TrainingPlan,
        folder: JobFolder | None,
        name: str,
        validate: Callable[[nn.Module], float] | None,
    ) -> None:
        self.model, self.images, self.plan, self.validate = model, images, plan, validate
        self.folder, self.name = folder, name
        self.device = next(model.parameters()).device
        self.per_epoch = images.steps(plan.batch_size)
        self.total = plan.trial.total_steps(self.per_epoch)
        seed_device(model, plan.seed)
        self._add_auxiliary_head()
        model.to(memory_format=torch.channels_last)
        trial, config = plan.trial, plan.config
        self.optimizer = make_optimizer(model, trial.lr, trial.weight_decay, trial.optimizer, config.nesterov)
        self.step, self.ended, self.finite = 0, False, True
        self.loss, self.right = 0.0, 0  # sums over the epoch so far
        self.first_norm = 0.0
        self.window, self.on_target, self.converged = min(_WINDOW, self.per_epoch), 0, 0
        self.curve: list[CurveLine] = []

    def run(self) -> Outcome:
        self._resume()
        if not self.ended:
            self._train()
        if isinstance(self.model, Network):
            self.model.drop_path.p = 0.0
            self.model.remove_auxiliary_head()
        return Outcome(self.finite, self.step, self.converged or self.step, self.first_norm, self.curve)

    def _train(self) -> None:
        self.model.train()
        batches = epochs_of(self.images, self.plan.batch_size, self.plan.seed, self.plan.flip, self.step)
        while self.step < self.total and self.finite:
            self._one_step(*next(batches))
            if self.folder is not None and self.folder.due:
                self._save()
        self.ended = True
        if self.folder is not None and self.folder.due:
            self._save()

    def _one_step(self, images: Tensor, labels: Tensor) -> None:
        config, trial = self.plan.config, self.plan.trial
        set_lr(self.optimizer, trial.lr * lr_factor(config, self.step, self.total, self.per_epoch))
        if isinstance(self.model, Network):
            self.model.drop_path.p = config.drop_path * (self.step // self.per_epoch) * self.per_epoch / self.total
        images = cut_out(images, config.cutout, np.random.default_rng([self.plan.seed, self.step, 2]))
        output = self.model(images.contiguous(memory_format=torch.channels_last))
        logits, others = (output, ()) if isinstance(output, Tensor) else (output[0], output[1:])
        loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        if config.auxiliary:
            for other in others:
                loss = loss + config.auxiliary * F.cross_entropy(other, labels, label_smoothing=config.label_smoothing)
        if not torch.isfinite(loss):
            self.finite = False
            return
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self.step == 0:
            self.first_norm = _gradient_norm(self.model)
        if config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        self.loss += loss.item()
        self.right += int((logits.argmax(1) == labels).sum())
        self._measure_convergence(logits, labels)
        if self.step % self.per_epoch == 0 or self.step == self.total:
            self._end_epoch()

    def _measure_convergence(self, logits: Tensor, labels: Tensor) -> None:
        config = self.plan.config
        top = logits.topk(min(config.target_top, logits.shape[1])).indices
        self.on_target += int((top == labels[:, None]).sum())
        if self.step % self.window == 0:
            seen = self.window * len(labels)
            if not self.converged and self.on_target >= config.target * seen:
                self.converged = self.step
            self.on_target = 0

    def _end_epoch(self) -> None:
        steps = (self.step - 1) % self.per_epoch + 1
        images = steps * min(self.plan.batch_size, len(self.images))
        line: CurveLine = {
            "epoch": self.step / self.per_epoch,
            "step": self.step,
            "loss": self.loss / steps,
            "train_top1": self.right / images,
        }
        if self.validate is not None:
            line["val_top1"] = self.validate(self.model)
            self.model.train()
        self.curve.append(line)
        self.loss, self.right = 0.0, 0

    def _add_auxiliary_head(self) -> None:
        if self.plan.config.auxiliary and isinstance(self.model, Network):
            with self.device:  # whose random numbers are seeded
                self.model.add_auxiliary_head()

    def _plan(self) -> dict[str, Any]:
        return {**asdict(self.plan), "total": self.total, "device": self.device.type}

    def _save(self) -> None:
        assert self.folder is not None
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors["random"] = _random_state(self.device)
        state = self.optimizer.state_dict()["state"]
        tensors |= {f"optimizer.{i}.{key}": torch.as_tensor(v) for i, s in state.items() for key, v in s.items()}
        numbers = {name: getattr(self, name) for name in _STATE}
        self.folder.write(self.name, self._plan(), SavedState(tensors, numbers))

    def _resume(self) -> None:
        saved = None if self.folder is None else self.folder.read(self.name, self._plan())
        if saved is None:
            return
        tensors = saved.tensors
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimizer":
                number, _, name = rest.partition(".")
                state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        _set_random_state(self.device, tensors["random"])
        for name, number in saved.numbers.items():
            setattr(self, name, number)


def _gradient_norm(model: nn.Module) -> float:
    """Return the L2 norm of the gradient, 0 if it is not finite."""
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    norm = torch.stack(norms).norm().item()
    return norm if isfinite(norm) else 0.0


def cut_out(images: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """Set a square of each image to 0, which is gray for normalized images (DeVries and Taylor, 2017).

    The center of the square is any pixel, so a part of it may be outside of the image.

    Args:
        images: (B, 3, H, H).
        side: side of the squares in pixels; 0 returns the images.
        rng: source of the centers.
    """
    if not side:
        return images
    size = images.shape[-1]
    centers = torch.from_numpy(rng.integers(size, size=(len(images), 2, 1))).to(images.device)
    offsets = torch.arange(size, device=images.device) - centers + side // 2  # (B, 2, H)
    inside = (offsets >= 0) & (offsets < side)
    return images.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0.0)


def seed_device(model: nn.Module, seed: int) -> None:
    """Seed the random numbers of the device that a network is on, and of no other device.

    While a network trains on a GPU, the next one is built with random numbers of the CPU.
    """
    state = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    device = next(model.parameters()).device
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(state)
    else:
        torch.default_generator.manual_seed(state)


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def epochs_of(
    images: ImageSplit, batch_size: int, seed: int, flip: bool, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the augmented batches of one epoch after the other, without end.

    Images in memory are shifted by up to 4 pixels, files are cropped at random; half of both are mirrored if `flip`.

    Args:
        images: images of the training split.
        batch_size: images in a batch.
        seed: seed of order and augmentation.
        flip: mirror half of the images.
        start: number of batches that are skipped.
    """
    epoch, first = divmod(start, images.steps(batch_size))
    while True:
        yield from images.shuffled(batch_size, seed, epoch, first, _CROP, flip)
        epoch, first = epoch + 1, 0
