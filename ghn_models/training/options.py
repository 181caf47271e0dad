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
        recipe: ghn2 or ghn3, as in the papers (on imagenet ghn2_imagenet or ghn3_imagenet, with other batches and
            epochs); laptop; cifar10_cpu. A recipe for another number of training images is refused unless steps are
            given.
        data_dir: folder of the images; digits need none.
        root: folder of the generated train split; by default data, or without the file there, architectures are drawn
            on the fly.
        image_size: 32 or 224; by default 224 for imagenet, 32 for all others.
        out: folder of the run; by default runs/MODEL_DATASET_RECIPE_SEED.
        seed: of weights, architectures and images.
        steps: meta-batches, other than in the recipe.
        meta_batch_size: networks in a meta-batch, other than in the recipe; larger ones may have more nodes.
        lr: learning rate, other than in the recipe.
        batch_size: images for each network, other than in the recipe.
        weight_decay: of the GHN, other than in the recipe.
        num_architectures: networks to train on, the first ones of train; 1000 and 100 in the DeepNets paper, Table 8.
        gamma: weight of the penalty on predicted parameters; 0 and 1e-4 in the GHN-3 paper, Tables 5 and 10.
        penalty: the sum of the norms of predicted tensors (norm) or of their squares (square; GHN-3 paper, Table 5).
        label_smoothing: share of a label that all classes get, other than in the recipe.
        average: decay of a moving average of the weights, other than in the recipe; 0 takes the weights themselves.
        validation_networks: networks that decide which checkpoint is the best; 500 in the DeepNets paper.
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
    batch_size: int | None = None
    weight_decay: float | None = None
    num_architectures: int | None = None
    gamma: float | None = None
    penalty: Literal["norm", "square"] | None = None
    label_smoothing: float | None = None
    average: float | None = None
    validation_networks: int | None = None
    start: Path | None = None
    device: str | None = None
    amp: Literal["auto", "on", "off"] = "auto"
    plot: bool = False
