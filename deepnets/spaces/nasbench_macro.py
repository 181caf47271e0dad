"""NAS-Bench-Macro (Su et al., 2021): 6,561 networks of eight layers, trained on CIFAR-10 with three seeds.

A network is a key of eight digits, one for each layer: 0 identity, 1 an inverted residual block (MobileNetV2) with
expansion 3 and kernel 3, 2 one with expansion 6 and kernel 5. Stages have two, three and three layers; the first layer
of each has stride 2 and doubles the width.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from deepnets.spaces.block import INPUT, Block, BlockBuilder, stem_block
from deepnets.spaces.chain import Chain, Placed
from deepnets.spaces.tables import Truth, numbers, read_table
from deepnets.utils.errors import InputError

STEM_WIDTH = 32
LAYERS_PER_STAGE = (2, 3, 3)
HEAD_WIDTH = 1280
SEEDS = 3

EXPANSIONS = {"1": (3, 3), "2": (6, 5)}
"""Expansion and kernel of the digits that are inverted residual blocks."""


class Layer(NamedTuple):
    """One layer: its digit, its numbers of channels, and its stride."""

    choice: str
    width_in: int
    width: int
    stride: int


def layers_of(key: str) -> list[Layer]:
    """Return the layers of a network.

    Raises:
        InputError: the key is not eight digits from 0 to 2.
    """
    if len(key) != sum(LAYERS_PER_STAGE) or set(key) - set("012"):
        raise InputError(f"{key!r} is not a network of NAS-Bench-Macro, which is eight digits from 0 to 2")
    layers, width = [], STEM_WIDTH
    for stage, count in enumerate(LAYERS_PER_STAGE):
        first = sum(LAYERS_PER_STAGE[:stage])
        layers.append(Layer(key[first], width, 2 * width, 2))
        width *= 2
        layers += [Layer(choice, width, width, 1) for choice in key[first + 1 : first + count]]
    return layers


def _conv_bn(builder: BlockBuilder, x: int, number: str, out: int, width: int, kernel: int = 1) -> int:
    x = builder.conv(x, f"cells.{{cell}}.conv{number}", out, width, kernel)
    return builder.bn(x, f"cells.{{cell}}.bn{number}", out)


@cache
def _layer(layer: Layer) -> Block:
    builder = BlockBuilder()
    x = builder.input
    if layer.choice not in EXPANSIONS:
        return builder.block(x if layer.stride == 1 else _conv_bn(builder, x, "", layer.width, layer.width_in))
    expansion, kernel = EXPANSIONS[layer.choice]
    inner = expansion * layer.width_in
    x = _conv_bn(builder, x, "1", inner, layer.width_in)
    x = builder.bn(builder.depthwise(x, "cells.{cell}.conv2", inner, kernel), "cells.{cell}.bn2", inner)
    x = _conv_bn(builder, x, "3", layer.width, inner)
    return builder.block(builder.sum([builder.input, x]) if layer.stride == 1 else x)


@cache
def _head(num_classes: int, width: int) -> Block:
    builder = BlockBuilder()
    x = builder.bn(builder.conv(builder.input, "head.conv", HEAD_WIDTH, width, 1), "head.bn", HEAD_WIDTH)
    return builder.block(builder.classifier(x, "classifier", num_classes, HEAD_WIDTH))


def nasbench_macro_chain(key: str, num_classes: int = 10) -> Chain:
    """Return the network of a key as blocks.

    Raises:
        InputError: the key is not eight digits from 0 to 2.
    """
    layers = layers_of(key)
    body = [Placed(_layer(layer), number) for number, layer in enumerate(layers)]
    head = _head(num_classes, layers[-1].width)
    return [Placed(INPUT, 0), Placed(stem_block(STEM_WIDTH), 0), *body, Placed(head, len(layers) - 1)]


@cache
def nasbench_macro_truth() -> Truth:
    """Return the CIFAR-10 test accuracies, in percent: the mean of three seeds, each seed, and the operations."""
    table = read_table("nas_bench_macro")
    seeds = [numbers(table[f"acc{seed + 1}"]) for seed in range(SEEDS)]
    names = ("cifar10_test", *(f"cifar10_test_seed{seed}" for seed in range(SEEDS)), "flops")
    values = np.stack([np.mean(seeds, axis=0), *seeds, numbers(table["flops"])], axis=1)
    return Truth(tuple(table["arch"]), names, values)
