"""The metadata file beside a published file, read piece by piece: that of train describes 1,000,000 networks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepnets.published.graph_compare import Vocabulary
from deepnets.utils.errors import FileError

BLOCK = 2000
"""Networks in memory at a time."""


@dataclass(frozen=True)
class _SplitMetadata:
    """Where the architectures of a split stand in the text, every `BLOCK` of them, and the vocabulary."""

    offsets: list[int]
    count: int
    vocabulary: Vocabulary


class Metadata:
    """The metadata file beside a published file; architectures are decoded when they are needed."""

    def __init__(self, source: Path) -> None:
        self.source = source
        if not source.is_file():
            raise FileError(f"{source} does not exist, or is no file")
        path = source.with_name(source.stem + "_meta.json")
        if not path.is_file():
            raise FileError(f"{source} needs the metadata file {path.name} beside it")
        self._text = path.read_text()
        self._decoder = json.JSONDecoder()
        try:
            self.splits = dict(self._read_split(position, name) for name, position in self._members(0))
            if not self.splits:
                raise ValueError("it names no split")
        except IndexError:
            raise FileError(f"{path} is truncated, or empty") from None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise FileError(f"{path} is no metadata of DeepNets-1M ({error})") from None

    def block(self, split: str, start: int) -> list[dict[str, Any]]:
        """The architectures from `start`, a multiple of `BLOCK`, to the next multiple or the end."""
        found = self.splits[split]
        position = found.offsets[start // BLOCK]
        nets = []
        for _ in range(min(BLOCK, found.count - start)):
            net, position = self._decode(position)
            nets.append(net)
        return nets

    def _skip(self, position: int) -> int:
        while self._text[position] in " \t\r\n,:":
            position += 1
        return position

    def _decode(self, position: int) -> tuple[Any, int]:
        return self._decoder.raw_decode(self._text, self._skip(position))

    def _members(self, position: int) -> Iterator[tuple[str, int]]:
        """Names and positions of the values of an object; the value itself is passed over afterwards."""
        position = self._skip(position)
        if self._text[position] != "{":
            raise ValueError("an object is expected")
        position = self._skip(position + 1)
        while self._text[position] != "}":
            name, position = self._decode(position)
            yield name, position
            position = self._skip(self._end)

    def _read_split(self, position: int, name: str) -> tuple[str, _SplitMetadata]:
        offsets: list[int] = []
        count, vocabulary = 0, None
        for member, place in self._members(position):
            if member == "nets":
                offsets, count = self._read_nets(self._skip(place))
            else:
                value, self._end = self._decode(place)
                vocabulary = Vocabulary.of(value) if member == "meta" else vocabulary
        if vocabulary is None or not count:
            raise ValueError(f"the split {name!r} lacks nets or meta")
        self._end = self._skip(self._end) + 1  # behind the brace of the split
        return name, _SplitMetadata(offsets, count, vocabulary)

    def _read_nets(self, position: int) -> tuple[list[int], int]:
        offsets, count = [], 0
        position = self._skip(position + 1)
        while self._text[position] != "]":
            if count % BLOCK == 0:
                offsets.append(position)
            _, position = self._decode(position)
            position = self._skip(position)
            count += 1
        self._end = position + 1
        return offsets, count
