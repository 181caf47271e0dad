"""Context of a run: its images and its model, loaded once and passed along."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from benchmarks.core.evaluation_networks import EvaluationNetwork
from benchmarks.core.protocol import Protocol, Task
from benchmarks.execution.run_config import RunConfig
from benchmarks.initializers.base import Initializer
from benchmarks.initializers.ghn import Untrained
from benchmarks.initializers.registry import UnknownModelError, load_initializer
from benchmarks.protocols.registry import get_protocol
from benchmarks.scoring.scorers import Scorer, by_accuracy, is_scorer, load_scorer
from deepnets.utils.errors import InputError


class Stage(Enum):
    """Stages of a job, of which either may take too much memory."""

    PREPARE = "build the network and give it its parameters"
    EVALUATE = "evaluate it as the protocol says"


@dataclass(frozen=True)
class BatchSizes:
    """Numbers of images that are in memory at a time; they are smaller if memory is short.

    There are two, so that an initializer that needs much memory does not change the training of its network.

    Args:
        evaluation: batch size of the protocol.
        initializer_share: batch size of initializers that learn, as a share of the usual one.
    """

    evaluation: int
    initializer_share: float = 1.0


@dataclass(frozen=True, eq=False)
class RunContext:
    """Everything that the jobs of a run share: protocol, data, initializer.

    Args:
        config: configuration of the run.
        protocol: the protocol.
        task: the data, on the device of the run.
        initializer: the initializer of the networks.
        scorer: function that scores networks, for protocols about scores.
    """

    config: RunConfig
    protocol: Protocol[Any, Any]
    task: Task
    initializer: Initializer
    scorer: Scorer

    @property
    def batch_sizes(self) -> BatchSizes:
        """The batch sizes of jobs that fit into memory."""
        return BatchSizes(self.protocol.batch_size_of(self.config.settings))

    def task_for(self, network: EvaluationNetwork) -> Task:
        """Return the data, with images of the size that a network needs."""
        size = network.input_size(self.config.image_size)
        return self.task if size == self.config.image_size else self.task.resized(size)

    def reduce(self, sizes: BatchSizes, stage: Stage) -> BatchSizes | None:
        """Return half the batch size of the stage that took too much memory; None if it is the smallest one."""
        if stage is Stage.EVALUATE:
            smallest = self.protocol.batch_sizes(self.config.settings)[-1]
            return replace(sizes, evaluation=sizes.evaluation // 2) if sizes.evaluation > smallest else None
        share = sizes.initializer_share
        return replace(sizes, initializer_share=share / 2) if share > self.initializer.smallest_share else None


def load_run_context(config: RunConfig) -> RunContext:
    """Load the images and the model of a run.

    Raises:
        InputError: an unknown name, images or weights that are missing, or a classifier for other classes.
    """
    protocol = get_protocol(config.protocol)
    task = protocol.load_task(config.dataset, config.data_dir, config.image_size).to(config.device)
    untrained = Untrained(task.num_classes, config.image_size, config.seed) if config.random_weights else None
    scoring = load_scorer(config.model) if protocol.accepts_scorers else None
    initializer, scorer = scoring or (_load_initializer(config, untrained), by_accuracy)
    if protocol.needs_classifier and initializer.num_classes not in (None, task.num_classes):
        raise InputError(
            f"{initializer.name} predicts classifiers of {initializer.num_classes} classes, and {task.name} has "
            f"{task.num_classes}; {protocol.name} needs a data set with as many, protocols that train accept any"
        )
    return RunContext(config, protocol, task, initializer, scorer)


def _load_initializer(config: RunConfig, untrained: Untrained | None) -> Initializer:
    try:
        return load_initializer(config.model, config.device, config.orth_layer, untrained)
    except UnknownModelError:
        if is_scorer(config.model):
            raise InputError(
                f"{config.model} gives networks scores and no parameters; it is for --protocol nas"
            ) from None
        raise
