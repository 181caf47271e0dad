"""Configuration of a run, and its jobs: one for each network and repetition."""

from dataclasses import dataclass
from typing import Any

from benchmarks.core.evaluation_networks import networks_in


@dataclass(frozen=True)
class Job:
    """A row of results to be computed: which network, and which repetition."""

    group: str
    index: int
    repeat: int


@dataclass(frozen=True)
class RunConfig:
    """What a run evaluates on what, and how; equal configurations give equal results.

    Args:
        protocol: its name.
        settings: its options.
        model: name of an initializer, see `benchmarks.initializers`.
        dataset, data_dir, image_size: images, as the protocol loads them.
        groups: groups of networks, see `benchmarks.core.evaluation_networks`.
        num: evaluate the first networks of each group only; None evaluates all.
        seed: of everything random but the networks.
        repeats: number of seeds for each network.
        orth_layer: first layer that NAME_orth makes orthogonal.
        random_weights: the GHN is not trained.
        device: where networks run.
    """

    protocol: str
    settings: Any
    model: str
    dataset: str
    groups: tuple[str, ...]
    data_dir: str | None = None
    image_size: int = 32
    num: int | None = None
    seed: int = 0
    repeats: int = 1
    orth_layer: int = 0
    random_weights: bool = False
    device: str = "cpu"

    def networks(self) -> dict[str, int]:
        """Return the number of networks by group."""
        return {group: len(networks_in(group, self.num)) for group in self.groups}

    def jobs(self) -> list[Job]:
        """Return all jobs in the order of the table of results."""
        return list_jobs(self.networks(), self.repeats)


def list_jobs(networks: dict[str, int], repeats: int) -> list[Job]:
    """Return the jobs of the first networks of each group, in the order of the table of results.

    >>> len(list_jobs({"test": 2, "wide": 1}, repeats=3))
    9
    """
    return [
        Job(group, index, repeat)
        for group, count in networks.items()
        for index in range(count)
        for repeat in range(repeats)
    ]
