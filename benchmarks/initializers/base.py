"""What an initialiser is, and what it may look at."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from deepnets import ArchGraph
from ghn_models.images.datasets import ImageTask


def recordable(name: str) -> str:
    """The name of a model or a file in characters that records accept."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)


@dataclass(frozen=True, eq=False)
class InitContext:
    """What is known of a network and of its task when it gets its parameters.

    Args:
        name: of the network.
        graph: of the network, if it is at hand.
        task: images of classes, on the device that networks run on; None if the protocol is about other data.
        image_size: of the network's inputs.
        generator: random numbers, on the CPU.
        beta: strength of noise on predicted weights; None if the protocol adds none of its own.
        initialized: if not, parameters are arbitrary, and those that are not predicted have to be initialised.
        batch_share: what initialisers that learn take of their usual batches, less where memory is short.
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
        """Images of classes.

        Raises:
            ValueError: there are none.
        """
        if self.task is None:
            raise ValueError("the model needs images of classes, which the data of this protocol are not")
        return self.task

    def seed(self) -> int:
        """A random seed."""
        return int(torch.randint(2**62, (), generator=self.generator))


Apply = Callable[[nn.Module, InitContext], None]
"""Changes a network with PyTorch's initialisation in place; it may move it to the device of the images."""


@dataclass(frozen=True)
class Initializer:
    """Gives a network its parameters.

    Args:
        name: what it is called in tables.
        apply: what it does with a network.
        weights_sha256: of the weights that it reads: those of a GHN, or trained ones.
        num_classes: that the classifier is predicted for.
        smallest_share: of its usual batches, that it can learn with; 1 if it does not learn.
        makes_classifiers: it initialises classifiers for the classes at hand, in a way of its own.
    """

    name: str
    apply: Apply
    weights_sha256: str | None = None
    num_classes: int | None = None
    smallest_share: float = 1.0
    makes_classifiers: bool = False

    @property
    def learns(self) -> bool:
        """Whether it trains, on the device of the networks."""
        return self.smallest_share < 1
