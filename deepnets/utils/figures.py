"""Figures of matplotlib, written to files."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from deepnets.utils.atomic_files import atomic_write
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")

_DPI = 200


def check_figure_suffix(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless the suffix names a format that figures are written in."""
    suffix = Path(path).suffix
    if suffix.lower() not in FIGURE_SUFFIXES:
        raise InputError(f"{path} has the suffix {suffix!r}; figures are written as {', '.join(FIGURE_SUFFIXES)}")


def new_figure(width: float, height: float) -> "Figure":
    """Return a figure of this size in inches, without pyplot: it needs no display and changes no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure atomically, in the format of the suffix.

    Raises:
        InputError: an unknown suffix.
        OSError: the file cannot be written.
    """
    check_figure_suffix(path)
    content = io.BytesIO()
    figure.savefig(content, dpi=_DPI, format=Path(path).suffix.lower()[1:])
    atomic_write(Path(path).expanduser(), content.getvalue())
