"""The log of a training run: `log.jsonl`, and TensorBoard where it is installed."""

import json
from pathlib import Path
from typing import Any

from deepnets.utils.atomic_files import atomic_write

LOG = "log.jsonl"


class TrainingLog:
    """The log of a training run: one JSON object per line, each with its step.

    Args:
        folder: the folder of the run. Where TensorBoard is installed, its subfolder `tensorboard` has the same numbers.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.board = folder / LOG, _tensorboard(folder)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; it has a `step`."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in line.items():
                self.board.add_scalar(name, value, line["step"])

    def drop_after(self, step: int) -> None:
        """Remove lines after a step, which the resumed run writes again, and lines that a kill cut off."""

        def stays(line: str) -> bool:
            try:
                return bool(json.loads(line)["step"] <= step)
            except (ValueError, TypeError, KeyError, RecursionError):
                return False

        if self.path.exists():
            lines = self.path.read_text(errors="replace").splitlines()
            atomic_write(self.path, "".join(line + "\n" for line in lines if stays(line)))


def _tensorboard(folder: Path) -> Any:
    """Return a writer for TensorBoard if it is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard")
