"""Ragged arrays: rows of different lengths in one flat array, and the pointers to where each row starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def pointers(lengths: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Ints:
    """Return the (B + 1,) pointers of rows with these (B,) lengths.

    >>> pointers([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def concatenate_pointers(parts: Sequence[Ints]) -> Ints:
    """Return the pointers of the rows of all parts, one part after the other.

    >>> concatenate_pointers([np.array([0, 2, 5]), np.array([0, 1])]).tolist()
    [0, 2, 5, 6]
    """
    ends = np.cumsum([0, *(ptr[-1] for ptr in parts)])
    return np.concatenate([parts[0][:1], *(ptr[1:] + end for ptr, end in zip(parts, ends, strict=False))])


def take_rows(ptr: Ints, index: Ints) -> tuple[Ints, Ints]:
    """Select rows of a ragged array.

    Args:
        ptr: (B + 1,) pointers of the array.
        index: (R,) rows, in any order.

    Returns:
        (R + 1,) pointers of the selected rows, and the positions of their values in the flat array.
    """
    length = (ptr[1:] - ptr[:-1])[index]
    selected = pointers(length)
    return selected, np.arange(selected[-1]) + np.repeat(ptr[:-1][index] - selected[:-1], length)


@dataclass(frozen=True, eq=False)
class RaggedArray:
    """Rows of different lengths in one flat array.

    Shapes:
        ptr: (B + 1,) row b is values[ptr[b]:ptr[b + 1]].
        values: (sum of lengths, ...)
    """

    ptr: Ints
    values: NDArray[Any]

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[Any]], shape: tuple[int, ...] = ()) -> "RaggedArray":
        """Build an array of integers from lists.

        Args:
            rows: the values of each row.
            shape: shape of a single value.
        """
        values = np.array([value for row in rows for value in row], np.int64)
        return cls(pointers([len(row) for row in rows]), values.reshape(-1, *shape))

    @cached_property
    def start(self) -> Ints:
        """(B,) position of each row's first value."""
        return self.ptr[:-1]

    @cached_property
    def length(self) -> Ints:
        """(B,) length of each row."""
        return np.diff(self.ptr)

    def gather(self, index: Ints) -> tuple[Ints, Ints]:
        """Find the values of the rows at `index`, one row after the other.

        Returns:
            For each value the entry of `index` that it belongs to, and its position in `values`.
        """
        length = self.length[index]
        owner = np.repeat(np.arange(len(index)), length)
        shift = self.start[index] - (np.cumsum(length) - length)
        return owner, np.arange(len(owner)) + shift[owner]
