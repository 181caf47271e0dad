"""Checkpoints of a training run: the GHN, its optimizer, and a pointer to the latest checkpoint."""

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepnets.utils.atomic_files import atomic_write
from deepnets.utils.bounded_files import read_json_at_most
from deepnets.utils.errors import InputError
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.checkpoints.folder import CheckpointError
from ghn_models.hypernetwork import GHN
from ghn_models.training.weight_average import WeightAverage

LATEST, OPTIMIZER = "latest.json", "optimizer.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_TYPES = {"folder": str, "step": int, "best": str, "best_accuracy": float | int, "counts": dict, "bad_steps": int}


@dataclass(frozen=True)
class LatestCheckpoint:
    """Content of `latest.json`, which makes the checkpoint that it names valid.

    Args:
        folder: name of the latest checkpoint's folder, `step_N`.
        step: number of steps that the run has made.
        best: name of the folder with the highest accuracy on validation networks.
        best_accuracy: that accuracy, from 0 to 1.
        counts: networks and steps without a finite loss or without enough memory, so far.
        bad_steps: the last steps in a row that had no network with a finite loss and gradient.
        optimizer_sha256: hash of the optimizer's file; None if it is not known.
    """

    folder: str
    step: int
    best: str
    best_accuracy: float
    counts: dict[str, int]
    bad_steps: int
    optimizer_sha256: str | None = None

    @classmethod
    def from_json(cls, content: Any) -> "LatestCheckpoint":
        """Return the pointer that a file has.

        Raises:
            InputError: no training run writes such a content.
        """
        if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in _TYPES.items()):
            raise InputError("a key is missing or has a value of another type")
        counts = content["counts"]
        valid = (
            all(re.fullmatch(r"step_\d{7,}", content[key]) is not None for key in ("folder", "best"))
            and content["step"] == int(content["folder"].removeprefix("step_"))
            and 0 <= content["best_accuracy"] <= 1
            and content["bad_steps"] >= 0
            and counts.keys() == {"non_finite", "out_of_memory", "skipped_steps"}
            and all(type(count) is int and count >= 0 for count in counts.values())
        )
        if not valid:
            raise InputError("a value is out of range")
        return cls(**{key: content[key] for key in _TYPES}, optimizer_sha256=content.get("optimizer_sha256"))


class RunCheckpoints:
    """The checkpoints in the folder of a training run: the latest and the best.

    A checkpoint counts once `latest.json` names it. So a run that is killed while it saves goes on from the one before.

    Args:
        folder: the folder of the run.
        ghn: the GHN that is saved, and that gets the weights of what is loaded.
        optimizer: Adam or AdamW for the GHN's parameters.
        average: the moving average of the GHN's parameters.
    """

    def __init__(self, folder: Path, ghn: GHN, optimizer: torch.optim.Optimizer, average: WeightAverage) -> None:
        self.folder, self.ghn, self.optimizer, self.average = folder, ghn, optimizer, average

    def latest(self) -> LatestCheckpoint | None:
        """Return the pointer to the latest checkpoint, or None before the first one.

        Raises:
            CheckpointError: `latest.json` is damaged.
        """
        path = self.folder / LATEST
        if not path.exists():
            return None
        try:
            return LatestCheckpoint.from_json(read_json_at_most(path, 2**20))
        except (ValueError, RecursionError):
            raise CheckpointError(f"{path} is damaged, so nobody knows where to go on; choose another --out") from None

    def save(self, step: int, accuracy: float, counts: dict[str, int], bad_steps: int, about: dict[str, Any]) -> None:
        """Save the GHN and its optimizer, then the pointer to them, which makes the checkpoint valid.

        The GHN has its averaged weights while it is saved; `average.values` has the others.

        Args:
            step, counts, bad_steps: see `LatestCheckpoint`.
            accuracy: on validation networks.
            about: further content of the checkpoint's `config.json`: model, data.
        """
        folder = self.folder / f"step_{step:07d}"
        shutil.rmtree(folder, ignore_errors=True)
        checkpoints.save_folder(self.ghn, folder, {**about, "step": step, "val_accuracy": accuracy})
        checkpoints.write_tensors(self._optimizer_tensors(), folder / OPTIMIZER)
        before = self.latest()
        best, best_accuracy = folder.name, accuracy
        if before is not None and before.best_accuracy > accuracy:
            best, best_accuracy = before.best, before.best_accuracy
        optimizer_sha256 = checkpoints.sha256(folder / OPTIMIZER)
        latest = LatestCheckpoint(folder.name, step, best, best_accuracy, counts, bad_steps, optimizer_sha256)
        atomic_write(self.folder / LATEST, json.dumps(asdict(latest)) + "\n")
        self.remove_others(latest)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        """Return Adam's moments by the names of parameters, and the weights that are not averaged."""
        names = {id(p): name for name, p in self.ghn.named_parameters()}
        moments = {
            f"{key}.{names[id(p)]}": state[key].detach().cpu().contiguous().reshape(state[key].shape)
            for p, state in self.optimizer.state.items()
            for key in _MOMENTS
        }
        return moments | {f"weights.{name}": value.cpu() for name, value in self.average.values.items()}

    def remove_others(self, latest: LatestCheckpoint) -> None:
        """Remove checkpoints that are neither the latest nor the best; a kill may have left some."""
        for old in self.folder.glob("step_*"):
            if old.name not in (latest.folder, latest.best):
                shutil.rmtree(old)

    def load(self, folder: Path, averaged: bool, optimizer_sha256: str | None = None) -> None:
        """Load the GHN and the optimizer from a checkpoint.

        Args:
            folder: the checkpoint, of this run or of another one.
            averaged: load the moving average too; otherwise it starts anew from the loaded weights.
            optimizer_sha256: hash that the optimizer's file must have; None if it is not known.

        Raises:
            CheckpointError: the files are not those that were saved, or not of this GHN.
        """
        weights, optimizer = folder / checkpoints.WEIGHTS, folder / OPTIMIZER
        device = next(self.ghn.parameters()).device
        state = checkpoints.read_tensors(weights)
        moments = {k: v.to(device) for k, v in checkpoints.read_tensors(optimizer).items()}
        checkpoints.check_sha256(weights, checkpoints.read_metadata(folder).get("weights_sha256"), checkpoints.CONFIG)
        checkpoints.check_sha256(optimizer, optimizer_sha256, LATEST)
        checkpoints.check_state(self.ghn, state, str(weights))
        _check_moments(moments, self.ghn, optimizer)
        self.ghn.load_state_dict(state)  # a copy: the optimizer keeps the parameters that it has
        if averaged:
            self.average.restart()
        with torch.no_grad():
            for name, parameter in self.ghn.named_parameters():
                if f"weights.{name}" in moments:
                    parameter.copy_(moments[f"weights.{name}"])
                if f"step.{name}" in moments:
                    state = {key: moments[f"{key}.{name}"] for key in _MOMENTS}
                    self.optimizer.state[parameter] = {k: v.cpu() if k == "step" else v for k, v in state.items()}
        if not averaged:
            self.average.restart()


def _check_moments(moments: dict[str, Tensor], ghn: GHN, source: Path) -> None:
    """Raise CheckpointError if these are not moments and weights of a GHN's parameters."""
    shapes = {name: parameter.shape for name, parameter in ghn.named_parameters()}
    for full, value in moments.items():
        kind, _, name = full.partition(".")
        if kind not in (*_MOMENTS, "weights") or name not in shapes:
            raise CheckpointError(f"{source} has {full[:80]!r}, which is not of this GHN")
        if kind != "step" and value.shape != shapes[name]:
            raise CheckpointError(f"{source}: {full} has shape {tuple(value.shape)}, not {tuple(shapes[name])}")
        if not value.isfinite().all():
            raise CheckpointError(f"{source}: {full} has numbers that are not finite")
        lacks = [other for other in _MOMENTS if f"{other}.{name}" not in moments]
        if kind in _MOMENTS and lacks:
            raise CheckpointError(f"{source} has no {lacks[0]}.{name}, but {full}")
