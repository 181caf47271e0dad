"""Pictures in files."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from deepnets.utils.atomic_files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")

_DPI = 200


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise ValueError unless the suffix is that of a picture."""
    suffix = Path(path).suffix
    if suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} has the suffix {suffix!r}; pictures are written as {', '.join(SUFFIXES)}")


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a picture as a whole or not at all; the suffix decides its format.

    Raises:
        ValueError: an unknown suffix.
    """
    check_suffix(path)
    content = io.BytesIO()
    figure.savefig(content, dpi=_DPI, format=Path(path).suffix.lower()[1:])
    atomic_write(Path(path), content.getvalue())
