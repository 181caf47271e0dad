"""Options of a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainOptions:
    """Train a GHN.

    Args:
        model: name of the GHN, one of ghn_models.list_models().
        dataset: image data set: digits, cifar10, cifar100, fashion_mnist, imagenet or folder.
        recipe: ghn2 or ghn3, as in the papers, with as many steps as CIFAR-10 needs; ghn3_imagenet, with wider
            networks; or laptop.
        data_dir: folder of the images; digits need none.
        root: folder of the generated train split; by default data, or without the file there, architectures are drawn
            on the fly.
        image_size: 32 or 224; by default 224 for imagenet, 32 for all others.
        out: folder of the run; by default runs/MODEL_DATASET_RECIPE_SEED.
        seed: of weights, architectures and images.
        steps: meta-batches, other than in the recipe.
        meta_batch_size: networks in a meta-batch, other than in the recipe; larger ones may have more nodes.
        lr: learning rate, other than in the recipe.
        start: checkpoint of another run, a folder step_N, whose weights and optimizer this run starts with: for
            example to end a run of cifar10_cpu with cifar10_cpu_cooldown.
        device: cpu, cuda or cuda:N; by default a GPU if there is one.
        amp: networks run in bfloat16; by default if the recipe says so, and on GPUs that are good at it.
        plot: draw the curves at the end.
    """

    model: str
    dataset: str = "digits"
    recipe: str = "laptop"
    data_dir: Path | None = None
    root: Path | None = None
    image_size: Literal[32, 224] | None = None
    out: Path | None = None
    seed: int = 0
    steps: int | None = None
    meta_batch_size: int | None = None
    lr: float | None = None
    start: Path | None = None
    device: str | None = None
    amp: Literal["auto", "on", "off"] = "auto"
    plot: bool = False
