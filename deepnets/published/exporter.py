"""Export of files of networks to the published format of DeepNets-1M; `importer` describes it."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.sampling.evaluation_widths import WIDE_FACTORS
from deepnets.storage.column_reader import check_undamaged
from deepnets.storage.column_writer import new_file
from deepnets.storage.network_file import NetworkFile
from deepnets.utils.atomic_files import move_into_place, temporary_sibling
from deepnets.utils.errors import FileError

_CUTOFF = 250  # longest distance that is exported, which still fits uint8


def export_files(sources: Sequence[Path], target: Path) -> None:
    """Write files of networks in the published format: the HDF5 file and its `_meta.json`.

    Args:
        sources: files of networks, one for each split.
        target: the HDF5 file; the metadata goes beside it.

    Raises:
        FileExistsError: one of the two exists already.
        FileError: a source cannot be read or is damaged, two sources hold the same split, or a file cannot be written.
    """
    files = [NetworkFile(source) for source in sources]
    splits = [file.header.split for file in files]
    if len(set(splits)) < len(splits):
        raise FileError(f"several files hold the same split ({', '.join(splits)}); give one file for each")
    target = target.expanduser()
    metadata = target.with_name(target.stem + "_meta.json")
    for path in (target, metadata):
        if path.exists():
            raise FileExistsError(f"{path} exists already; nothing is overwritten unasked")
    for source in sources:
        check_undamaged(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_sibling(metadata) as temporary, new_file(target) as out:
        out.attrs["title"] = "DeepNets-1M"
        with open(temporary, "w") as text:
            for number, file in enumerate(files):
                text.write("{" if number == 0 else ", ")
                _export_split(file, out.create_group(file.header.split), text)
            text.write("}")
            text.flush()
            os.fsync(text.fileno())
        move_into_place(temporary, metadata)  # before the graphs, which cannot be read without it


@dataclass
class _Vocabulary:
    """Primitives and parameter names of a split, numbered in the order in which they occur."""

    primitives: dict[str, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def node_rows(self, graph: ArchGraph) -> NDArray[np.uint16]:
        """Return the (N, 3) rows (primitive, cell, name) of a graph's nodes."""
        primitives = [_published_primitive(op, s) for op, s in zip(graph.op.tolist(), graph.shape, strict=True)]
        names = [re.sub(r"^cells\.\d+\.", "", name) for name in graph.name.tolist()]
        rows = [
            (self.primitives.setdefault(p, len(self.primitives)), cell, self.names.setdefault(name, len(self.names)))
            for p, cell, name in zip(primitives, graph.cell.tolist(), names, strict=True)
        ]
        return np.array(rows, np.uint16)

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return names by number, as the metadata has them."""
        numbers = {"primitives_ext": self.primitives, "unique_op_names": self.names}
        return {key: {str(number): name for name, number in names.items()} for key, names in numbers.items()}


def _export_split(file: NetworkFile, group: h5py.Group, text: TextIO) -> None:
    """Write the graphs of a split into `group`, and its metadata to `text`."""
    split = file.header.split
    vocabulary = _Vocabulary()
    large = NetworkFile(file.file.path, image_size=224)
    text.write(f'"{split}": {{"nets": [')
    for index in tqdm(range(len(file)), desc=split, unit=" networks"):
        graph = file.graph(index)
        group.create_dataset(f"{index}/adj", data=graph.distances(_CUTOFF).astype(np.uint8))
        group.create_dataset(f"{index}/nodes", data=vocabulary.node_rows(graph))
        net: dict[str, Any] = file.architecture(index).to_dict() | {"num_nodes": len(graph)}
        net["C"] = large.architecture(index).channels // WIDE_FACTORS[224] if split == "wide" else net["C"]
        net["num_params"] = {"cifar10": int(file.num_params()[index]), "imagenet": int(large.num_params()[index])}
        text.write((", " if index else "") + json.dumps(net))
    text.write(f'], "meta": {json.dumps(vocabulary.to_dict())}}}')


def _published_primitive(op: int, shape: NDArray[np.int32]) -> str:
    """Return the published name of a primitive; it tells 1x1 convolutions and linear layers from other convolutions."""
    name = PRIMITIVES[op]
    return "conv_1x1" if name == "conv" and shape[2] == shape[3] == 1 else name
