"""Published measurements of networks as columns of a file.

`truth/names` says what the columns of `truth/values` (N, T) measure, one per line; NaN where there is no measurement.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepnets.storage.column_reader import Column, ColumnFile, decode_vocabulary, encode_vocabulary
from deepnets.storage.joined_parts import TRUTH_NAMES
from deepnets.utils.errors import FileError

VALUES = "truth/values"


def truth_columns(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, Column]:
    """Return the columns of measurements (N, T)."""
    return {TRUTH_NAMES: encode_vocabulary(names), VALUES: values.astype(np.float64)}


def read_truth(file: ColumnFile) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the names and values of the measurements; none if the file has none.

    Raises:
        FileError: they do not fit together.
    """
    if VALUES not in file.names:
        return (), np.empty((file.header.num_networks, 0))
    try:
        names = decode_vocabulary(file.column(TRUTH_NAMES))
    except (KeyError, UnicodeDecodeError):
        names = ()
    if file.describe(VALUES) != ((file.header.num_networks, len(names)), "float64"):
        raise FileError(f"{file.path} is damaged: its measurements do not fit its networks")
    return names, np.asarray(file.column(VALUES), np.float64)
