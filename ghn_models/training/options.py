"""Options of a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainOptions:
    """Train a GHN.

    Args:
        model: name of the GHN: mlp, ghn1, ghn2, ghn3_t, ghn3_s, ghn3_l, ghn3_xl or another of
            ghn_models.list_models().
        dataset: image data set: digits, cifar10, cifar100, fashion_mnist, imagenet or folder.
        recipe: settings of the training. ghn2 and ghn3 are those of the papers for CIFAR-10, ghn2_imagenet and
            ghn3_imagenet those for ImageNet; laptop suits small images on a CPU; cifar10_cpu trains on CIFAR-10
            without a GPU and has no end; cifar10_cpu_cooldown ends such a run (--start). A recipe for another number
            of training images is refused unless --steps is given.
        data_dir: folder of the images; digits need none.
        root: folder of the generated train split. By default data; if it has no train split, architectures are sampled
            during the training.
        image_size: height and width of the images, 32 or 224; by default 224 for imagenet and 32 for all others.
        out: folder of the run; by default runs/MODEL_DATASET_RECIPE_SEED.
        seed: seed of weights, architectures and images.
        steps: number of steps; by default that of the recipe.
        meta_batch_size: number of networks in a meta-batch; by default that of the recipe. A larger meta-batch may have
            more nodes in proportion.
        lr: learning rate; by default that of the recipe.
        batch_size: number of images for each network; by default that of the recipe.
        weight_decay: weight decay of the GHN's parameters; by default that of the recipe.
        num_architectures: number of networks of the train split to train on, the first ones; by default that of the
            recipe. The DeepNets paper has 1000 and 100 in Table 8.
        gamma: weight of the penalty on predicted parameters; by default that of the recipe. The GHN-3 paper has 0 and
            1e-4 in Tables 5 and 10.
        penalty: the penalty: norm sums the norms of predicted tensors, square their squares (GHN-3 paper, Table 5); by
            default that of the recipe.
        label_smoothing: share of a label that is spread over all classes; by default that of the recipe.
        average: decay of a moving average of the weights; by default that of the recipe. 0 turns it off.
        validation_networks: number of networks that decide which checkpoint is the best; by default that of the recipe.
            The DeepNets paper has 500.
        start: folder step_N of another run; this run starts with its weights and its optimizer.
        device: cpu, cuda or cuda:N; by default a GPU if there is one.
        amp: run networks in bfloat16: on, off, or auto, which follows the recipe and the GPU.
        plot: plot the training curves at the end.
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
