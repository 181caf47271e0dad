"""Initializers that need nothing but random numbers."""

import torch
from torch import nn

from benchmarks.initializers.base import InitContext
from deepnets.networks.weight_layers import named_weights
from ghn_models import orthogonalize


def randinit(model: nn.Module, context: InitContext) -> None:
    """RandInit: keep the random parameters that the network was built with."""


@torch.no_grad()
def he(model: nn.Module, context: InitContext) -> None:
    """He: set weights to normal numbers with variance 2 / fan_in, and biases to 0 (He et al., 2015, Eq. 10).

    A chain of such layers and ReLUs neither amplifies nor damps its input. The defaults of PyTorch's layers have a
    sixth of that variance; networks of torchvision often have an initialization similar to this one.
    """
    for _, weight, bias in named_weights(model):
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=context.generator)
        if bias is not None:
            bias.zero_()


def orth(model: nn.Module, context: InitContext, first_layer: int = 0) -> None:
    """Orth: make the weights of all layers but the classifier orthogonal (Saxe et al., 2014).

    Args:
        model: the network.
        context: not used.
        first_layer: layers before this one stay as they are (GHN-orth, section 5).
    """
    orthogonalize(model, first_layer)
