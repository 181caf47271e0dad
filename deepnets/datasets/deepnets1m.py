"""DeepNets-1M as a PyTorch Geometric data set."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Data, Dataset
from tqdm import tqdm

from deepnets.datasets.generation import generate_missing, published_size, split_path
from deepnets.datasets.truth import open_targets
from deepnets.design_space.architecture import Architecture
from deepnets.design_space.image_sizes import check_image_size
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.sampling.splits import SPACE_SPLITS, SPLITS, TRACED_SPLITS, check_split
from deepnets.storage.column_reader import Header
from deepnets.storage.network_file import NetworkFile, open_graphs
from deepnets.storage.verification import check_content
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]

_FIXED = {"torchvision74": (224, 1000), "timm": (224, 1000)} | {
    split: (32, 10) for split in SPACE_SPLITS if split != "timm"
}
"""Image size and number of classes of splits that have no choice; many models of timm take images of other sizes."""
_BULK = 256  # graphs read together while iterating


class ArchData(Data):  # type: ignore[misc]
    """One architecture graph.

    Shapes:
        x: (N,) primitive of each node, index into `PRIMITIVES`.
        edge_index: (2, E) edges.
        shape: (N, 4) shape of each node's parameter (out, in, height, width), zeros where there is none.
        cell: (N,) cell of each node.
        index, split: number of the network in the split, and name of the split.
        y: (1, T) what was measured of the network, see `DeepNets1M.y_names`; NaN where there is no measurement.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        # PyG takes every attribute called "...index" for node numbers, which it shifts in a batch.
        return 0 if key == "index" else super().__inc__(key, value, *args, **kwargs)


class DeepNets1M(Dataset):  # type: ignore[misc]
    """The architecture graphs of a split of DeepNets-1M (Knyazev et al., 2021), read from one memory-mapped file.

    A missing file is generated (the train split takes a minute on two cores).

    Args:
        root: folder of the data, with files `deepnets1m_<split>.hdf5`.
        split: train, val, test, wide, deep, dense, bnfree or search; torchvision74 or predefined; or a split of trained
            architectures with published accuracies: nasbench101, nasbench201, nasbench301 (accuracies of a surrogate),
            nasbench_macro or timm.
        transform: applied to every graph when it is read, for example `VirtualEdges()`.
        pre_filter: graphs for which it returns false are left out; called for all graphs when the data set is opened.
        num: use the first `num` networks. By default all networks of the file, with a warning if it has fewer than the
            published split; a missing file is generated with the published number.
        force_reload: generate the file again, replacing the one that exists.
        image_size: 32 (default) or 224; the shapes depend on it. Always 224 for torchvision74; splits of
            trained architectures have one.
        num_classes: outputs of the classifiers, 10 by default; the shape of the last layer depends on it. Always 1000
            for torchvision74 and timm; 10 on small and 1000 on large images for predefined; 10 for the other splits of
            trained architectures.

        verify: check an existing file as `deepnets verify` does, which reads all of it. Without, values that cannot
            be are refused where they are read, but damage that leaves possible values is not noticed.

    Raises:
        InputError: an unknown split, a number below 1 or above that of the file, or a damaged file.

    >>> dataset = DeepNets1M("data", "val", transform=VirtualEdges(), num=100)  # doctest: +SKIP
    >>> dataset[0]  # doctest: +SKIP
    ArchData(x=[145], edge_index=[2, 4987], shape=[145, 4], cell=[145], y=[1, 1], index=0, split='val', ...)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        num: int | None = None,
        force_reload: bool = False,
        image_size: int | None = None,
        num_classes: int | None = None,
        verify: bool = False,
    ) -> None:
        check_split(split)
        image_size, num_classes = _image_size_and_classes(split, image_size, num_classes)
        if num is not None and (not isinstance(num, int) or num < 1):
            raise InputError(f"num is {num!r}; it must be an integer, 1 or more")
        path = split_path(root, split, image_size)
        if force_reload or not path.exists():
            print(f"generating {path} ...")
            count = None if split in TRACED_SPLITS else num
            generate_missing(path, split, count, force_reload, image_size)
        elif verify:
            check_content(path)
        self.file = open_graphs(path, image_size, num_classes)
        if self.file.header.split != split:
            raise InputError(f"{path} holds the split {self.file.header.split!r}, not {split!r}")
        if num is not None and num > len(self.file):
            raise InputError(
                f"{path} has {len(self.file)} networks, but num is {num}; generate more with force_reload=True"
            )
        if split not in TRACED_SPLITS:
            _warn_of_other_networks(path, self.file.header, num)
        self._targets = open_targets(self.file)
        self.split, self.image_size = split, image_size
        self._len = len(self.file) if num is None else num
        super().__init__(str(root), transform=transform, pre_filter=pre_filter, force_reload=force_reload)
        if pre_filter is not None:
            graphs = tqdm(self._read_all(range(self._len)), total=self._len, desc="pre_filter")
            self._indices = [i for i, data in enumerate(graphs) if pre_filter(data)]
            self.pre_filter = None  # applied; besides, a data loader cannot send every function to its workers

    def len(self) -> int:
        """Return the number of networks of the whole data set, also in a part of it such as `dataset[:10]`."""
        return self._len

    def get(self, idx: int) -> ArchData:
        """Return the graph of network `idx` of the file."""
        return self._read([idx])[0]

    def __getitem__(self, idx: Any) -> Any:
        return super().__getitem__(idx if not isinstance(idx, int | np.integer) else self._checked(int(idx)))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: the data set has {len(self)} networks")
        return int(index)

    def __getitems__(self, indices: Sequence[int]) -> list[Data]:
        """Return several graphs, faster than one by one; data loaders call this."""
        own = self.indices()
        graphs = self._read([own[self._checked(i)] for i in indices]) if len(indices) else []
        return graphs if self.transform is None else [self.transform(graph) for graph in graphs]

    def __iter__(self) -> Iterator[Data]:
        graphs = self._read_all(self.indices())
        return iter(graphs) if self.transform is None else map(self.transform, graphs)

    def architecture(self, index: int) -> Architecture:
        """Return the architecture of network `index`.

        Raises:
            InputError: the networks of this split are traced and have no architecture.
        """
        if not isinstance(self.file, NetworkFile):
            raise InputError(f"the networks of {self.split} are not architectures of the design space")
        return self.file.architecture(self.indices()[self._checked(index)])

    def model_name(self, index: int) -> str:
        """Return the name of network `index`: a torchvision model, or the split and the index, "val/3"."""
        name: str = self.file.models[self.indices()[self._checked(index)]]
        return name

    def graph(self, index: int) -> ArchGraph:
        """Return the graph of network `index` with its parameter names."""
        return self.file.graph(self.indices()[self._checked(index)])

    def network(self, index: int) -> nn.Module:
        """Return network `index` with PyTorch's random initialization.

        Raises:
            TraceError: a model of timm, which is not installed.
        """
        from deepnets.datasets.runnable import build_network

        return build_network(self.file, self.indices()[self._checked(index)], self.image_size)

    @property
    def y_names(self) -> tuple[str, ...]:
        """Names of the columns of `data.y`: numbers of parameters, accuracies in percent, speeds."""
        return self._targets.names

    def targets(self, indices: Ints | slice) -> NDArray[np.float64]:
        """Return the (B, T) float64 measurements of networks; `data.y` has them in float32.

        Args:
            indices: (B,) or a slice, places in the file.
        """
        return self._targets.rows(indices)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a table with a row for each network: its name, size, architecture and measurements."""
        from deepnets.datasets.table_view import dataset_table

        return dataset_table(self)

    @property
    def graph_sizes(self) -> Ints:
        """(len,) number of nodes of each graph."""
        sizes = self.file.num_nodes[: self._len]
        return sizes if self._indices is None else sizes[np.asarray(self._indices, np.int64)]

    def _read_all(self, indices: Sequence[int]) -> Iterator[ArchData]:
        for start in range(0, len(indices), _BULK):
            yield from self._read(indices[start : start + _BULK])

    def _read(self, indices: Sequence[int]) -> list[ArchData]:
        first = int(indices[0])
        consecutive = len(indices) == 1 or (isinstance(indices, range) and indices.step == 1)
        at = slice(first, first + len(indices)) if consecutive else np.array(indices, np.int64)
        graphs, shape = self.file.read(at)
        op, cell = graphs.op.astype(np.int64), graphs.cell.astype(np.int64)
        edge_index = np.array([graphs.edge_src, graphs.edge_dst], np.int64)
        y = torch.from_numpy(self.targets(at).astype(np.float32)).split(1)
        if len(indices) == 1:
            return [self._data(first, op, edge_index, shape, cell, y[0])]
        # Copies, because a view would keep all graphs of the bulk in memory.
        return [
            self._data(int(index), op[n].copy(), edge_index[:, e].copy(), shape[n].copy(), cell[n].copy(), row.clone())
            for index, (n, e), row in zip(indices, graphs.slices(), y, strict=True)
        ]

    def _data(self, index: int, op: Ints, edge_index: Ints, shape: Ints, cell: Ints, y: Tensor) -> ArchData:
        data = ArchData()
        # Fill the storage directly: the constructor would take as long as all the reading.
        store = data._store
        store["x"] = torch.from_numpy(op)
        store["edge_index"] = torch.from_numpy(edge_index)
        store["shape"] = torch.from_numpy(shape)
        store["cell"] = torch.from_numpy(cell)
        store["y"] = y
        store["index"] = index
        store["split"] = self.split
        return data


def _warn_of_other_networks(path: Path, header: Header, num: int | None) -> None:
    """Warn of a file that does not hold the published networks: a trial's file has the name of the whole split."""
    count, published = header.num_networks, published_size(header.split)
    if num is None and count < published:
        warnings.warn(
            f"{path} has {count} of the {published} networks of {header.split}; num={count} says that this is meant, "
            "force_reload=True generates all",
            stacklevel=3,
        )
    if header.seed != 0:
        warnings.warn(
            f"{path} has networks of {header.split} sampled with seed {header.seed}; everybody else's have seed 0",
            stacklevel=3,
        )


def _image_size_and_classes(split: str, image_size: int | None, num_classes: int | None) -> tuple[int, int]:
    """Return the image size and the number of classes; those of traced splits are fixed."""
    size = image_size if image_size is not None else _FIXED.get(split, (32, 10))[0]
    check_image_size(size)
    if split in SPLITS:
        return size, 10 if num_classes is None else num_classes
    fixed = _FIXED.get(split, (size, 10 if size == 32 else 1000))
    if (size, fixed[1] if num_classes is None else num_classes) != fixed:
        asked = f"image_size={size}, num_classes={num_classes}"
        raise InputError(f"graphs of {split} have image_size={fixed[0]}, num_classes={fixed[1]}; asked for {asked}")
    return fixed
