"""Joining of text columns when the parts of a file are merged.

Parts of generated networks share a frozen vocabulary. Parts with graphs of any networks have one each: the file gets
their union, to which the columns of names are translated.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepnets.storage.column_reader import Column, ColumnFile, decode_vocabulary, encode_vocabulary
from deepnets.utils.errors import FileError

MODELS = "models"
TRUTH_NAMES = "truth/names"
NODE_NAMES = "graphs/name"


def joined_vocabulary(files: Sequence[ColumnFile]) -> tuple[str, ...]:
    """Return the names of all parts, in the order in which they come first.

    Raises:
        FileError: parts of generated networks, whose vocabulary is frozen, differ.
    """
    if MODELS not in files[0].names and any(file.vocabulary != files[0].vocabulary for file in files):
        raise FileError("the parts have different name vocabularies; delete them and generate again")
    return tuple(dict.fromkeys(name for file in files for name in file.vocabulary))


def joined_lines(columns: Sequence[Column]) -> Column:
    """Return the lines of all parts."""
    return encode_vocabulary([line for column in columns for line in decode_vocabulary(column)])


def translations(files: Sequence[ColumnFile]) -> list[NDArray[np.integer]]:
    """Return where the names of each part stand in the joined vocabulary."""
    joined = {name: position for position, name in enumerate(joined_vocabulary(files))}
    dtype = np.uint16 if len(joined) < 1 << 16 else np.uint32
    return [np.array([joined[name] for name in file.vocabulary], dtype) for file in files]
