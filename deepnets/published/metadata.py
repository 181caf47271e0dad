"""The metadata file beside a published file. It is decoded in blocks, as train has 1,000,000 networks."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepnets.published.graph_compare import Vocabulary
from deepnets.utils.errors import FileError, InputError

_MOST_BYTES = 1 << 32
_BETWEEN = re.compile(r"[ \t\r\n,:]*")

BLOCK = 2000
"""Number of networks that are decoded at a time."""


@dataclass(frozen=True)
class SplitMetadata:
    """The metadata of a split.

    Args:
        offsets: position in the text of every `BLOCK`-th architecture.
        count: number of architectures.
        vocabulary: vocabulary of the recorded graphs.
    """

    offsets: list[int]
    count: int
    vocabulary: Vocabulary


class Metadata:
    """The metadata file beside a published file; architectures are decoded when they are needed.

    Args:
        source: the HDF5 file.

    Raises:
        FileError: one of the two files is missing, or the metadata cannot be read.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        if not source.is_file():
            raise FileError(f"{source} does not exist, or is not a file")
        path = source.with_name(source.stem + "_meta.json")
        if not path.is_file():
            raise FileError(f"{source} needs the metadata file {path.name} beside it")
        self._decoder = json.JSONDecoder()
        self.splits: dict[str, SplitMetadata] = {}
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise InputError(f"it has more than {_MOST_BYTES >> 30} GB")
            self._text = path.read_text(encoding="utf-8")
            if self._text[self._read_object(0, self._read_split) :].strip():
                raise InputError("text follows the JSON object")
            if not self.splits:
                raise InputError("it names no split")
        except RecursionError:
            raise FileError(f"{path} is not a metadata file of DeepNets-1M (it is nested too deeply)") from None
        except IndexError:
            raise FileError(f"{path} is truncated, or empty") from None
        except ValueError as error:
            raise FileError(f"{path} is not a metadata file of DeepNets-1M ({error})") from None

    def block(self, split: str, start: int) -> list[dict[str, Any]]:
        """Return the architectures from `start`, a multiple of `BLOCK`, to the next multiple or the end."""
        metadata = self.splits[split]
        position = metadata.offsets[start // BLOCK]
        nets = []
        for _ in range(min(BLOCK, metadata.count - start)):
            net, position = self._decode(position)
            nets.append(net)
        return nets

    def _skip(self, position: int) -> int:
        match = _BETWEEN.match(self._text, position)
        position = position if match is None else match.end()
        if position >= len(self._text):
            raise IndexError("the text ends")
        return position

    def _decode(self, position: int) -> tuple[Any, int]:
        return self._decoder.raw_decode(self._text, self._skip(position))

    def _read_object(self, position: int, read_value: Callable[[str, int], int]) -> int:
        """Read an object, and return the position behind it.

        Args:
            position: its position in the text.
            read_value: reads the value of a name at a position, and returns the position behind the value.
        """
        position = self._skip(position)
        if self._text[position] != "{":
            raise InputError("an object is expected")
        position = self._skip(position + 1)
        while self._text[position] != "}":
            name, position = self._decode(position)
            if not isinstance(name, str):
                raise InputError(f"the name of a member is {name!r}")
            position = self._skip(read_value(name, position))
        return position + 1

    def _read_split(self, name: str, position: int) -> int:
        """Read the metadata of a split, and return the position behind it."""
        offsets: list[int] = []
        members: set[str] = set()
        count, vocabulary = 0, None
        if name in self.splits:
            raise InputError(f"the split {name!r} is there twice")

        def read_member(member: str, position: int) -> int:
            nonlocal offsets, count, vocabulary
            if member in members:
                raise InputError(f"the split {name!r} has {member} twice")
            members.add(member)
            if member == "nets":
                offsets, count, end = self._scan_nets(self._skip(position))
                return end
            value, end = self._decode(position)
            if member == "meta":
                vocabulary = Vocabulary.from_metadata(value)
            return end

        end = self._read_object(position, read_member)
        if vocabulary is None or not count:
            raise InputError(f"the split {name!r} lacks nets or meta")
        self.splits[name] = SplitMetadata(offsets, count, vocabulary)
        return end

    def _scan_nets(self, position: int) -> tuple[list[int], int, int]:
        """Return the positions of every `BLOCK`-th architecture, their number, and the position behind the list."""
        offsets, count = [], 0
        if self._text[position] != "[":
            raise InputError("nets is not a list")
        position = self._skip(position + 1)
        while self._text[position] != "]":
            if count % BLOCK == 0:
                offsets.append(position)
            _, position = self._decode(position)
            position = self._skip(position)
            count += 1
        return offsets, count, position + 1
