"""Files of one network in the folder of a run: states of an unfinished training, curves, the trained network.

A state is written at most every few seconds or minutes, so short trainings write none. Whether and when states are
written does not change results: a training that is resumed gives the same network as one that was never interrupted.
"""

import csv
import io
import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from deepnets.utils.atomic_files import atomic_write

UNFINISHED, CURVES, NETWORKS = "unfinished", "curves", "networks"
_KEY = "training"


def file_stem(name: str, repeat: int) -> str:
    """Return the name of the files of a network.

    >>> file_stem("test/3", 0)
    'test_3-0'
    """
    return f"{re.sub(r'[^A-Za-z0-9+.-]', '_', name)}-{repeat}"


def forget_unfinished(run: Path, stem: str) -> None:
    """Remove the states of a network whose row is stored, and the folder of all states if it is empty."""
    shutil.rmtree(run / UNFINISHED / stem, ignore_errors=True)
    if (run / UNFINISHED).is_dir() and not any((run / UNFINISHED).iterdir()):
        (run / UNFINISHED).rmdir()


@dataclass(frozen=True)
class SavedState:
    """A state that a training had when it was interrupted, or when it ended.

    Args:
        tensors: by name.
        numbers: all else, as JSON has it.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


@dataclass
class JobFolder:
    """Files of one network in the folder of a run.

    Args:
        run: the folder of the run.
        stem: name of the files, see `file_stem`.
        every: seconds from one state to the next.
        curves: write training curves.
        save: keep the trained network.
    """

    run: Path
    stem: str
    every: float
    curves: bool = False
    save: bool = False
    _last: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Whether the next state may be written."""
        return time.monotonic() - self._last >= self.every

    def read(self, name: str, plan: Mapping[str, Any]) -> SavedState | None:
        """Return the state of this name; None if there is none of the same plan, or it is damaged.

        Args:
            name: name of a training; a network may have several.
            plan: all that the training depends on.
        """
        path = self._state(name)
        try:
            with safe_open(path, framework="pt") as file:
                content = json.loads((file.metadata() or {})[_KEY])
                if content["plan"] != json.loads(json.dumps(plan)):
                    return None
                return SavedState({key: file.get_tensor(key) for key in file.keys()}, content["numbers"])  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, name: str, plan: Mapping[str, Any], state: SavedState) -> None:
        """Store a state durably, in place of the one before it."""
        path = self._state(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        copies = {key: value.detach().cpu().contiguous().clone() for key, value in state.tensors.items()}
        content = json.dumps({"plan": plan, "numbers": state.numbers})
        atomic_write(path, save(copies, {_KEY: content}), durable=True)
        self._last = time.monotonic()

    def _state(self, name: str) -> Path:
        return self.run / UNFINISHED / self.stem / f"{name}.safetensors"

    def write_curves(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write curves/STEM.csv: a line for each epoch of each training of the network."""
        if not self.curves or not lines:
            return
        (self.run / CURVES).mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        atomic_write(self.run / CURVES / f"{self.stem}.csv", text.getvalue())

    def keep_network(self, model: nn.Module) -> None:
        """Write networks/STEM.safetensors, the state dictionary of a trained network, if it is to be kept."""
        if not self.save:
            return
        (self.run / NETWORKS).mkdir(parents=True, exist_ok=True)
        state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
        atomic_write(self.run / NETWORKS / f"{self.stem}.safetensors", save(state), durable=True)
