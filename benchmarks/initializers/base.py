"""Base types of initializers: `Initializer` sets a network's parameters, and `InitContext` has its inputs."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from deepnets import ArchGraph
from deepnets.utils.errors import InputError
from ghn_models.images.datasets import ImageTask


def recordable(name: str) -> str:
    """Return the name of a model or a file with characters that records accept.

    >>> recordable("my net")
    'my_net'
    """
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)


@dataclass(frozen=True, eq=False)
class InitContext:
    """Inputs of an initializer besides the network: its graph, images of the task, random numbers.

    Args:
        name: name of the network.
        graph: its graph; None if the initializer has to trace it.
        task: images for classification, on the device that networks run on; None if the protocol has other data, such
            as detection.
        image_size: height and width of the network's inputs.
        generator: random numbers, on the CPU.
        beta: strength of noise on predicted weights; None if the protocol adds no noise of its own.
        initialized: whether parameters have PyTorch's initialization. If not, they are arbitrary, and an initializer
            must set all of them.
        batch_share: batch size of initializers that learn, as a share of the usual one; below 1 if memory is short.
        needs_classifier: whether the classifier is used as it is, because the network is not trained afterwards.
        repeat: number of the repetition.
    """

    name: str
    graph: ArchGraph | None
    task: ImageTask | None
    image_size: int
    generator: torch.Generator
    beta: float | None = None
    initialized: bool = True
    batch_share: float = 1.0
    needs_classifier: bool = False
    repeat: int = 0

    def images(self) -> ImageTask:
        """Return the images for classification.

        Raises:
            InputError: the protocol has other data.
        """
        if self.task is None:
            raise InputError("the model needs images of classes, which the data of this protocol are not")
        return self.task

    def seed(self) -> int:
        """Draw a random seed."""
        return int(torch.randint(2**62, (), generator=self.generator))


Apply = Callable[[nn.Module, InitContext], None]
"""Function that changes the parameters of a network in place; it may move the network to the device of the images."""


@dataclass(frozen=True)
class Initializer:
    """A method that sets a network's parameters.

    Args:
        name: name in tables.
        apply: function that sets the parameters of a network.
        weights_sha256: hash of the weights that it reads, a GHN's or a trained network's; None if it reads none.
        num_classes: number of classes of the classifiers that it predicts; None if it predicts none.
        smallest_share: smallest batch size that it can learn with, as a share of the usual one; 1 if it does not learn.
        makes_classifiers: whether it initializes the classifier too, for any number of classes.
        running_statistics: whether it sets running statistics of batch norm too, as trained networks have them.
    """

    name: str
    apply: Apply
    weights_sha256: str | None = None
    num_classes: int | None = None
    smallest_share: float = 1.0
    makes_classifiers: bool = False
    running_statistics: bool = False

    @property
    def learns(self) -> bool:
        """Whether it learns from images, on the device of the networks."""
        return self.smallest_share < 1
