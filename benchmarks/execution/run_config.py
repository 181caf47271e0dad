"""Configuration of a run, and its jobs: one for each network and repetition."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.core.evaluation_networks import EvaluationNetwork, network_at, networks_in
from benchmarks.training.job_folder import JobFolder, file_stem


@dataclass(frozen=True)
class Job:
    """A row of results to compute: a network and a repetition."""

    group: str
    index: int
    repeat: int


@dataclass(frozen=True)
class Selection:
    """The best networks of another run, which are evaluated alone.

    Args:
        name: name of the selection, a column of leaderboards: top10, torchvision74_top10.
        run_id: run_id of the run that they are the best of.
    """

    name: str
    run_id: str


@dataclass(frozen=True)
class Outputs:
    """Files that a run keeps of networks besides their rows.

    Args:
        run: folder of the run.
        state_every: seconds from one state of an unfinished training to the next.
        curves: write training curves.
        save: keep trained networks.
    """

    run: str
    state_every: float = 60.0
    curves: bool = False
    save: bool = False

    def job_folder(self, name: str, repeat: int) -> JobFolder:
        """Return where the files of a network go."""
        return JobFolder(Path(self.run), file_stem(name, repeat), self.state_every, self.curves, self.save)


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
        networks_from: folder of files with networks of DeepNets-1M; None samples them.
        selection: how the networks were selected, if they were, see `benchmarks.execution.selection`.
        outputs: files that are kept of networks besides their rows; they do not change results.
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
    networks_from: str | None = None
    selection: Selection | None = None
    outputs: Outputs | None = None

    def network(self, job: Job) -> EvaluationNetwork:
        """Return the network of a job."""
        return network_at(job.group, job.index, self.networks_from)

    def job_folder(self, name: str, repeat: int) -> JobFolder | None:
        """Return where files of a network go; None if none are kept."""
        return None if self.outputs is None else self.outputs.job_folder(name, repeat)

    def networks(self) -> dict[str, int]:
        """Return the number of networks by group."""
        return {group: len(networks_in(group, self.num, self.networks_from)) for group in self.groups}

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
