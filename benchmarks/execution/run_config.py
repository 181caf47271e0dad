"""Configuration of a run, and its jobs: one for each network and repetition."""

from dataclasses import dataclass
from typing import Any

from benchmarks.core.evaluation_networks import networks_in


@dataclass(frozen=True)
class Job:
    """A row of results to compute: a network and a repetition."""

    group: str
    index: int
    repeat: int


@dataclass(frozen=True)
class RunConfig:
    """Configuration of a run: protocol, model, data and networks. Equal configurations give equal results.

    Args:
        protocol: name of the protocol.
        settings: options of the protocol.
        model: name of an initializer, see `benchmarks.initializers`.
        dataset, data_dir, image_size: name, folder and size of the images, as the protocol loads them.
        groups: groups of networks, see `benchmarks.core.evaluation_networks`.
        num: evaluate the first networks of each group only; None evaluates all.
        seed: seed of everything random except the networks, which their split defines.
        repeats: number of seeds for each network.
        orth_layer: first layer that NAME_orth makes orthogonal, counted from 0.
        random_weights: use the GHN with random weights instead of its trained ones.
        device: device that networks run on.
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
