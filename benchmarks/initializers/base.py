"""Initializer: what it does with a network, and the context that it may use."""

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
    """What an initializer may use: the network's graph, images of the task, random numbers.

    Args:
        name: of the network.
        graph: of the network; None if it has to be traced.
        task: images of classes, on the device that networks run on; None if the protocol is about other data.
        image_size: of the network's inputs.
        generator: random numbers, on the CPU.
        beta: strength of noise on predicted weights; None if the protocol adds no noise of its own.
        initialized: if False, parameters are arbitrary, and those that are not predicted have to be initialized.
        batch_share: share of their usual batches that initializers which learn take; below 1 where memory is short.
        needs_classifier: the network is not trained afterwards.
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

    def images(self) -> ImageTask:
        """Return the images of classes.

        Raises:
            InputError: the data of the protocol are not images of classes.
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
        name: in tables.
        apply: sets the parameters of a network.
        weights_sha256: of the weights that it reads: those of a GHN, or trained ones.
        num_classes: number of classes of predicted classifiers; None if classifiers are not predicted.
        smallest_share: smallest share of its usual batches that it can learn from; 1 if it does not learn.
        makes_classifiers: it initializes classifiers for the classes of the task in a way of its own.
    """

    name: str
    apply: Apply
    weights_sha256: str | None = None
    num_classes: int | None = None
    smallest_share: float = 1.0
    makes_classifiers: bool = False

    @property
    def learns(self) -> bool:
        """Whether it learns from images, on the device of the networks."""
        return self.smallest_share < 1
