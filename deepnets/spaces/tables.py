"""Tables of published measurements: accuracies, speeds and zero-cost proxies of trained architectures.

They are files of the package; `data/README.md` says where each is from, and under which license.
"""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from deepnets.utils.errors import InputError

Table = Mapping[str, Sequence[str]]
"""The columns of a file, as texts."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Measurements of the architectures of a space.

    Args:
        keys: (B) the architectures, in the notation of the space.
        names: (T) the columns of `values`.
        values: (B, T) float64, NaN where there is no measurement.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.keys)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column (B,).

        Raises:
            InputError: no column has this name.
        """
        if name not in self.names:
            raise InputError(f"there is no column {name!r}; choose from {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]


def read_table(name: str) -> Table:
    """Read a file of the package."""
    compressed = files("deepnets.spaces").joinpath("data", f"{name}.csv.gz").read_bytes()
    header, *rows = csv.reader(io.StringIO(gzip.decompress(compressed).decode()))
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def numbers(values: Sequence[str]) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where it is empty."""
    return np.array([float(value) if value else np.nan for value in values])


def truth_from_table(table: Table, keys: Sequence[str], columns: Mapping[str, str]) -> Truth:
    """Return the named columns of a table, by their new names."""
    values = np.stack([numbers(table[column]) for column in columns], axis=1)
    return Truth(tuple(keys), tuple(columns.values()), values)
