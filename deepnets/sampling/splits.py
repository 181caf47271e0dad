"""The splits of DeepNets-1M and the sampling rules of each (DeepNets-1M paper, sections 3 and A.1)."""

from dataclasses import dataclass

from deepnets.utils.errors import InputError, unknown_choice

Range = tuple[int, int]


@dataclass(frozen=True)
class SplitRules:
    """Sampling rules of a split; ranges include both ends.

    Args:
        size: number of networks in the published split.
        n_cells: number of cells.
        deep: a network is deep if it has more cells than a number sampled from this range.
        steps: states that a cell adds to its two inputs, in networks that are not deep.
        deep_steps: the same for deep networks.
        max_params: networks with more parameters at 32 channels are rejected.
        norm: "bn", None, or "any": with or without batch norm for small networks, else "bn".
        preproc: probability of 1x1 convolutions at the inputs of cells, in networks without attention that do not
            need them.
        width: how a network gets its width: "fixed" (32 channels; training samples other widths), "evaluation" (the
            smallest width with enough parameters), or "wide" (four times the evaluation width on 32x32 inputs, twice
            on 224x224).
    """

    size: int
    n_cells: Range = (4, 18)
    deep: Range = (7, 10)
    steps: Range = (1, 4)
    deep_steps: Range = (1, 2)
    max_params: int = 10_000_000
    norm: str | None = "any"
    preproc: float = 1.0
    width: str = "evaluation"

    @property
    def max_steps(self) -> int:
        """The largest number of states that a cell adds."""
        return max(self.steps[1], self.deep_steps[1])


SPLITS: dict[str, SplitRules] = {
    "train": SplitRules(1_000_000, width="fixed"),
    "val": SplitRules(500),
    "test": SplitRules(500),
    "wide": SplitRules(100, width="wide"),
    "deep": SplitRules(100, n_cells=(10, 36), deep=(18, 18), max_params=100_000_000),
    "dense": SplitRules(100, steps=(2, 10), deep_steps=(2, 6), max_params=100_000_000),
    "bnfree": SplitRules(100, norm=None),
    "search": SplitRules(
        100_000, n_cells=(6, 20), deep=(10, 10), steps=(1, 6), deep_steps=(1, 3), norm="bn", preproc=0.8, width="fixed"
    ),
}

TRACED_SPLITS = ("torchvision74", "predefined")
"""Splits of existing networks, whose graphs are traced: see `deepnets.datasets.traced_splits`."""

SPACE_SPLITS = ("nasbench101", "nasbench201", "nasbench301", "nasbench_macro", "timm")
"""Splits of trained architectures with published accuracies: see `deepnets.spaces`."""


def split_rules(split: str) -> SplitRules:
    """Return the rules of a split of sampled networks.

    Raises:
        InputError: an unknown split, or a split of traced or of published networks.
    """
    check_split(split)
    if split in TRACED_SPLITS:
        raise InputError(f"the networks of {split} are not sampled, but traced")
    if split in SPACE_SPLITS:
        raise InputError(f"the networks of {split} are not sampled, but published ones")
    return SPLITS[split]


def check_split(split: str) -> None:
    """Raise InputError if there is no split of this name."""
    known = (*SPLITS, *TRACED_SPLITS, *SPACE_SPLITS)
    if split not in known:
        raise InputError(unknown_choice("split", split, known))
