"""Recipes for training GHNs: those of the papers, one for a laptop, and one for CIFAR-10 on CPUs."""

from dataclasses import dataclass, field, replace
from math import cos, pi
from typing import Literal

from ghn_models.training.architecture_pool import SizeLimits
from ghn_models.training.step import LossConfig

_SIMILAR = 0.25


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run, except for model, data and seed.

    Args:
        steps: number of steps; each is one meta-batch.
        meta_batch_size: number of networks in a meta-batch.
        batch_size: number of images for each network.
        optimizer: adam (weight decay as L2 penalty) or adamw.
        lr: highest learning rate.
        weight_decay: weight decay of the optimizer.
        clip: largest norm of the GHN's gradient.
        warmup: share of the steps in which the learning rate grows linearly to `lr`.
        schedule: learning rate after the warm-up. cosine decays to 0; step divides by 10 after each of `decays`; linear
            decays to 0; constant stays, so that the run can end anywhere.
        decays: when the schedule step divides the learning rate by 10, as shares of the run.
        average: decay of the exponential moving average of the weights, for one step. The average is what is validated
            and loaded. 0 turns it off.
        weight_scale: root mean square of the first predicted weights relative to He's initialization, see `calibrate`;
            None for no calibration.
        objective: settings of the loss.
        limits: largest sizes of training networks.
        growth: number of steps in which limits and images grow; by default the whole run.
        num_architectures: number of networks of the train split to train on.
        wider: use the widths of GHN-3 on ImageNet, see `ArchitecturePool`.
        small_images: share of networks that see images of half the size, at the beginning and at the end of the growth.
            The others see whole images in a fourth of the batch, which takes as long. Networks with attention or
            without global pooling always see whole images.
        crop: largest random shift of images in memory, in pixels. Images in files are cropped at random unless this
            is 0.
        same_images: if True, all networks of a meta-batch see the same images, and an epoch has each image once. If
            False, every network samples its own images.
        validate_every: number of steps between validations; each writes a checkpoint.
        validation_images: number of validation images of each class; by default all.
        validation_networks: number of networks of the val split that decide which checkpoint is the best; 500 in the
            DeepNets paper, section 5.
        train_images: number of training images that `steps` are epochs of; None if the steps suit any data set.
    """

    steps: int
    meta_batch_size: int
    batch_size: int
    optimizer: Literal["adam", "adamw"]
    lr: float
    weight_decay: float
    clip: float
    warmup: float = 0.0
    schedule: Literal["cosine", "step", "constant", "linear"] = "cosine"
    decays: tuple[float, ...] = (2 / 3, 5 / 6)
    average: float = 0.0
    weight_scale: float | None = None
    objective: LossConfig = field(default_factory=LossConfig)
    limits: SizeLimits = field(default_factory=SizeLimits)
    growth: int | None = None
    num_architectures: int = 1_000_000
    wider: bool = False
    small_images: tuple[float, float] = (0.0, 0.0)
    crop: int = 4
    same_images: bool = True
    validate_every: int = 1000
    validation_images: int | None = None
    validation_networks: int = 8
    train_images: int | None = None

    def fits(self, images: int) -> bool:
        """Return whether the steps are meant for so many training images, give or take a quarter."""
        return self.train_images is None or abs(images / self.train_images - 1) <= _SIMILAR

    def progress(self, step: int) -> float:
        """Return how far networks and images have grown before a step, from 0 to 1."""
        return min(1.0, step / (self.growth or self.steps))

    def lr_factor(self, step: int) -> float:
        """Return the learning rate at a step, as a share of `lr`."""
        warmup = round(self.warmup * self.steps)
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "linear":
            return 1 - progress
        if self.schedule == "cosine":
            return 0.5 * (1 + cos(pi * progress))
        return float(0.1 ** sum(progress >= decay for decay in self.decays))


# DeepNets paper, section 5: 300 epochs of 45,000 images in batches of 64.
_GHN2 = Recipe(
    steps=210_900,
    meta_batch_size=8,
    batch_size=64,
    optimizer="adam",
    lr=1e-3,
    weight_decay=1e-5,
    clip=5.0,
    schedule="step",
    train_images=45_000,
)
# GHN-3 paper, section 5, with the batch size for CIFAR-10; 5 epochs of warm-up are those of its public trainer.
_GHN3 = Recipe(
    steps=210_900,
    meta_batch_size=8,
    batch_size=64,
    optimizer="adamw",
    lr=4e-4,
    weight_decay=1e-2,
    clip=5.0,
    warmup=5 / 300,
    objective=LossConfig(gamma=3e-5),
    train_images=45_000,
)
# Chosen by the runs in README.md. It has no end: to get weights, start the cooldown from a checkpoint.
_CIFAR10_CPU = Recipe(
    steps=1_000_000,
    meta_batch_size=4,
    batch_size=128,
    optimizer="adamw",
    lr=2e-3,
    weight_decay=1e-2,
    clip=1.0,
    warmup=100 / 1_000_000,
    schedule="constant",
    average=0.999,
    weight_scale=0.5,
    objective=LossConfig(network_clip=1.0, amp=True),
    limits=SizeLimits((6, 14), (110, 250), (0.7e6, 1.5e6), (32, 64)),
    growth=20_000,
    num_architectures=100_000,
    small_images=(0.8, 0.5),
    crop=4,
    same_images=False,
    validate_every=500,
    validation_images=100,
)
RECIPES = {
    "ghn2": _GHN2,
    # 150 epochs of 1,231,167 images in batches of 256, with decays after 100 and 140 epochs (DeepNets paper, C.1).
    "ghn2_imagenet": replace(
        _GHN2, steps=721_350, batch_size=256, decays=(100 / 150, 140 / 150), train_images=1_231_167
    ),
    "ghn3": _GHN3,
    # 75 epochs of 1,231,167 images.
    "ghn3_imagenet": replace(
        _GHN3,
        steps=721_350,
        batch_size=128,
        warmup=5 / 75,
        wider=True,
        train_images=1_231_167,
        objective=replace(_GHN3.objective, label_smoothing=0.1),
    ),
    # Small networks and images come first; larger ones profit from them.
    "laptop": Recipe(
        steps=8_000,
        meta_batch_size=4,
        batch_size=64,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=1e-2,
        clip=1.0,
        warmup=100 / 8_000,
        weight_scale=0.5,
        objective=LossConfig(network_clip=10.0),
        limits=SizeLimits((6, 16), (110, 300), (0.7e6, 2e6), (32, 96)),
        num_architectures=20_000,
        small_images=(1.0, 0.4),
        crop=0,
        same_images=False,
        validate_every=500,
    ),
    "cifar10_cpu": _CIFAR10_CPU,
    # Sizes are those at the end of the growth. It takes an hour or two on one core.
    "cifar10_cpu_cooldown": replace(
        _CIFAR10_CPU,
        steps=5_000,
        warmup=0.0,
        schedule="linear",
        limits=SizeLimits((14, 14), (250, 250), (1.5e6, 1.5e6), (64, 64)),
        growth=None,
        small_images=(0.5, 0.5),
    ),
}
