"""Options of `python -m benchmarks.run`, without those of single protocols and studies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def unset(metavar: str) -> Any:
    """Return the help metadata of an option without a default value; its help text says what happens without it."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclass(frozen=True)
class RunOptions:
    """What to evaluate.

    Args:
        model: what gives the networks their parameters, one of the list above, e.g. randinit, gradinit.100, ghn3_t.
        start_from: in place of a model: folder of a run with --save, whose trained networks are trained on, or
            transferred.
        preset: a training of a paper's table, one of the list above: protocol, settings, networks, repetitions and
            images; options that are given as well have precedence.
        protocol: what is measured, one of the list above, or a study; all runs finetune, nas, no_finetune and transfer,
            one after the other; with other splits than torchvision74, nas needs --nas.truth.
        dataset: images: digits, cifar10, cifar100, fashion_mnist, imagenet or folder; by default what the
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
        networks_from: folder of files of DeepNets-1M, whose networks are evaluated in place of sampled ones; after
            `deepnets import deepnets1m_eval.hdf5 --root FOLDER` they are the published ones.
        select_from: folder of another run, say of no_finetune: evaluate its ten networks with the best top-1 accuracy
            (DeepNets-1M-10 and PyTorch-10 of the GHN-3 paper, section 5.1), in place of --split.
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
        curves: write curves/NETWORK.csv: loss and accuracy on training and validation images after each epoch.
        save: keep the trained networks, as networks/NETWORK.safetensors.
        state_every: seconds after which the state of a training is stored, so that it goes on there after a kill.
        out: folder of the run, or of the runs if the protocol is all; by default results/RUN_ID.
        plot: draw the distribution of accuracies, or for nas scores against truth.
    """

    model: Annotated[str, unset("STR")] = ""
    protocol: str = "no_finetune"
    preset: Annotated[str | None, unset("STR")] = None
    start_from: Annotated[Path | None, unset("PATH")] = None
    dataset: Annotated[str | None, unset("STR")] = None
    data_dir: Annotated[Path | None, unset("PATH")] = None
    image_size: Annotated[Literal[32, 224] | None, unset("{32,224}")] = None
    split: tuple[str, ...] = ("all",)
    networks_from: Annotated[Path | None, unset("PATH")] = None
    select_from: Annotated[Path | None, unset("PATH")] = None
    num: Annotated[int | None, unset("INT")] = None
    repeats: Annotated[int | None, unset("INT")] = None
    seed: int = 0
    orth_layer: int = 0
    random_weights: bool = False
    device: Annotated[str | None, unset("STR")] = None
    workers: Annotated[int | None, unset("INT")] = None
    scheduler: Annotated[str | None, unset("STR")] = None
    curves: bool = False
    save: bool = False
    state_every: float = 60.0
    out: Annotated[Path | None, unset("PATH")] = None
    plot: bool = False
