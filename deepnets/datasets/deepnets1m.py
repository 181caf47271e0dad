"""DeepNets-1M as a PyTorch Geometric dataset."""

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler
from torch_geometric.data import Data, Dataset
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from tqdm import tqdm

from deepnets.datasets.generation import generate, split_path
from deepnets.design_space.architecture import Architecture
from deepnets.design_space.image_sizes import check_image_size
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.shortest_paths import shortest_paths
from deepnets.sampling.splits import TRACED_SPLITS, check_split, split_rules
from deepnets.storage.column_reader import Header
from deepnets.storage.network_file import NetworkFile, open_graphs

Ints = NDArray[np.int64]

_DRAWS = 1000  # of one meta-batch
_BULK = 256  # graphs read together when the whole data set is iterated


class ArchData(Data):
    """One architecture graph.

    Shapes:
        x: (N,) primitive of each node, index into `PRIMITIVES`.
        edge_index: (2, E) edges.
        shape: (N, 4) shape of each node's parameter (out, in, height, width), zeros where there is none.
        cell: (N,) cell of each node.
        index, split: which network it is.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        # PyG takes every attribute called "...index" for node numbers, which it shifts in a batch.
        return 0 if key == "index" else super().__inc__(key, value, *args, **kwargs)


class DeepNets1M(Dataset):
    """The architecture graphs of a split of DeepNets-1M (Knyazev et al., 2021), read from one memory-mapped file.

    A missing file is generated (the train split takes a minute on two cores).

    Args:
        root: folder of the data, with files `deepnets1m_<split>.hdf5`.
        split: train, val, test, wide, deep, dense, bnfree or search; torchvision74 or predefined.
        transform: applied to every graph when it is read, for example `VirtualEdges()`.
        pre_filter: keeps the graphs for which it is true; evaluated for all graphs when the data set is opened.
        num: number of networks, the first ones; by default all that the file has (with a warning, if they are fewer
            than the published ones), or the published number.
        force_reload: generate the file again, replacing the one that exists.
        image_size: 32 (default) or 224; decides the shapes. Always 224 for torchvision74.
        num_classes: outputs of the classifiers, 10 by default; decides the shape of the last layer. Always 1000 for
            torchvision74, and 10 or 1000, by image size, for predefined.

    Raises:
        ValueError: an unknown split, a number below 1 or above that of the file, or a damaged file.
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
    ) -> None:
        check_split(split)
        image_size, num_classes = _task(split, image_size, num_classes)
        if num is not None and (not isinstance(num, int) or num < 1):
            raise ValueError(f"num is {num!r}; it must be an integer, 1 or more")
        path = split_path(root, split, image_size)
        if force_reload or not path.exists():
            print(f"generating {path} ...")
            count = None if split in TRACED_SPLITS else num
            generate(path, split, num=count, overwrite=force_reload, image_size=image_size)
        self.file = open_graphs(path, image_size, num_classes)
        if self.file.header.split != split:
            raise ValueError(f"{path} holds the split {self.file.header.split!r}, not {split!r}")
        if num is not None and num > len(self.file):
            raise ValueError(
                f"{path} has {len(self.file)} networks, but num is {num}; generate more with force_reload=True"
            )
        if split not in TRACED_SPLITS:
            _warn_of_other_networks(path, self.file.header, num)
        self.split = split
        self._len = len(self.file) if num is None else num
        super().__init__(str(root), transform=transform, pre_filter=pre_filter, force_reload=force_reload)
        if pre_filter is not None:
            graphs = tqdm(self._read_all(range(self._len)), total=self._len, desc="pre_filter")
            self._indices = [i for i, data in enumerate(graphs) if pre_filter(data)]
            self.pre_filter = None  # done; and a data loader could not send every function to its workers

    def len(self) -> int:
        """Number of networks before any selection."""
        return self._len

    def get(self, idx: int) -> ArchData:
        """The graph of network `idx` of the file."""
        return self._read([idx])[0]

    def __getitem__(self, idx: Any) -> Any:
        return super().__getitem__(idx if not isinstance(idx, int | np.integer) else self._checked(int(idx)))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: the data set has {len(self)} networks")
        return int(index)

    def __getitems__(self, indices: Sequence[int]) -> list[Data]:
        """Several graphs at once, which is faster than one by one; data loaders use it."""
        own = self.indices()
        graphs = self._read([own[self._checked(i)] for i in indices]) if len(indices) else []
        return graphs if self.transform is None else [self.transform(graph) for graph in graphs]

    def __iter__(self) -> Iterator[Data]:
        graphs = self._read_all(self.indices())
        return iter(graphs) if self.transform is None else map(self.transform, graphs)

    def architecture(self, index: int) -> Architecture:
        """What network `index` is built from.

        Raises:
            ValueError: the graphs of this split are traced, not made from architectures.
        """
        if not isinstance(self.file, NetworkFile):
            raise ValueError(f"the networks of {self.split} are no architectures of the design space")
        return self.file.architecture(self.indices()[self._checked(index)])

    def model_name(self, index: int) -> str:
        """What graph `index` is of: a torchvision model, or split and index of a network."""
        return self.file.models[self.indices()[self._checked(index)]]

    def graph(self, index: int) -> ArchGraph:
        """The graph of network `index` with its parameter names."""
        return self.file.graph(self.indices()[self._checked(index)])

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
        nodes, edges = (itertools.pairwise(ptr.tolist()) for ptr in (graphs.node_ptr, graphs.edge_ptr))
        if len(indices) == 1:
            return [self._data(first, op, edge_index, shape, cell)]
        # Copies, since parts of a bulk would keep all of it in memory.
        return [
            self._data(int(index), op[a:b].copy(), edge_index[:, c:d].copy(), shape[a:b].copy(), cell[a:b].copy())
            for index, (a, b), (c, d) in zip(indices, nodes, edges, strict=True)
        ]

    def _data(self, index: int, op: Ints, edge_index: Ints, shape: Ints, cell: Ints) -> ArchData:
        data = ArchData()
        # The storage is filled directly: the constructor would take as long as all the reading.
        store = data._store
        store["x"] = torch.from_numpy(op)
        store["edge_index"] = torch.from_numpy(edge_index)
        store["shape"] = torch.from_numpy(shape)
        store["cell"] = torch.from_numpy(cell)
        store["index"] = index
        store["split"] = self.split
        return data


def _warn_of_other_networks(path: Path, header: Header, num: int | None) -> None:
    """A file of a trial has the name of the whole split."""
    count, published = header.num_networks, split_rules(header.split).size
    if num is None and count < published:
        warnings.warn(
            f"{path} has {count} of the {published} networks of {header.split}; num={count} says that this is meant, "
            "force_reload=True generates all",
            stacklevel=3,
        )
    if header.seed != 0:
        warnings.warn(
            f"{path} has networks of {header.split} drawn with seed {header.seed}; everybody else's have seed 0",
            stacklevel=3,
        )


def _task(split: str, image_size: int | None, num_classes: int | None) -> tuple[int, int]:
    """Image size and number of classes, of which traced splits have no choice."""
    size = image_size if image_size is not None else 224 if split == "torchvision74" else 32
    check_image_size(size)
    if split not in TRACED_SPLITS:
        return size, 10 if num_classes is None else num_classes
    fixed = (224, 1000) if split == "torchvision74" else (size, 10 if size == 32 else 1000)
    if (size, fixed[1] if num_classes is None else num_classes) != fixed:
        asked = f"image_size={size}, num_classes={num_classes}"
        raise ValueError(f"graphs of {split} have image_size={fixed[0]}, num_classes={fixed[1]}; asked for {asked}")
    return fixed


@functional_transform("virtual_edges")
class VirtualEdges(BaseTransform):
    """Connects every node to all nodes that it reaches (DeepNets-1M paper, section 4.2).

    Sets `edge_index` to all pairs whose shortest path along the edges is at most `cutoff` long, and `edge_attr` to
    its length (E,), which is 1 for the true edges. Lengths are int16, because a network has tens of thousands of
    virtual edges, and passing them between processes is what limits a data loader.

    Args:
        cutoff: the longest path that becomes an edge, 50 in the papers.

    Raises:
        ValueError: a cutoff below 1, or a graph whose nodes are not in a topological order.
    """

    def __init__(self, cutoff: int = 50) -> None:
        if not isinstance(cutoff, int) or cutoff < 1:
            raise ValueError(f"cutoff is {cutoff}; it must be an integer, 1 or more")
        self.cutoff = cutoff

    def forward(self, data: Data) -> Data:
        """The same graph with virtual edges."""
        sources, targets = data.edge_index.numpy()
        if (targets[1:] < targets[:-1]).any():
            order = np.argsort(targets, kind="stable")
            sources, targets = sources[order], targets[order]
        paths = shortest_paths(data.num_nodes, sources, targets)
        # As unsigned numbers the zeros of the diagonal, less one, are beyond any cutoff.
        linked = np.flatnonzero((paths - np.int16(1)).view(np.uint16) < min(self.cutoff, data.num_nodes))
        edge_index = np.empty((2, len(linked)), np.int64)
        np.floor_divide(linked, data.num_nodes, out=edge_index[1])
        np.subtract(linked, edge_index[1] * data.num_nodes, out=edge_index[0])
        data.edge_index = torch.from_numpy(edge_index)
        data.edge_attr = torch.from_numpy(paths.ravel()[linked])
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(cutoff={self.cutoff})"


class MetaBatchSampler(Sampler[list[int]]):
    """Meta-batches of architectures for training GHNs (DeepNets-1M paper, section B.2.3).

    Every epoch is a new random order of the data set; a meta-batch with more than `max_nodes` nodes is drawn again
    at random. Pass it as `batch_sampler` to a `torch_geometric.loader.DataLoader`.

    Args:
        dataset: the architectures.
        meta_batch_size: architectures in a meta-batch.
        max_nodes: the largest number of nodes of a meta-batch.
        seed: decides the order; epoch k of a seed is always the same.

    Raises:
        ValueError: no meta-batch, or hardly any, has so few nodes.
    """

    def __init__(self, dataset: DeepNets1M, meta_batch_size: int = 8, max_nodes: int = 2200, seed: int = 0) -> None:
        self.sizes = dataset.graph_sizes
        if not 1 <= meta_batch_size <= len(self.sizes):
            raise ValueError(f"meta_batch_size is {meta_batch_size}; accepted: 1 to {len(self.sizes)}, the data set")
        smallest = int(np.sort(self.sizes)[:meta_batch_size].sum())
        if smallest > max_nodes:
            raise ValueError(
                f"any {meta_batch_size} architectures have {smallest} nodes or more, above max_nodes = {max_nodes}"
            )
        self.meta_batch_size, self.max_nodes, self.seed = meta_batch_size, max_nodes, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.sizes) // self.meta_batch_size

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        order = rng.permutation(len(self.sizes))
        for start in range(0, len(self) * self.meta_batch_size, self.meta_batch_size):
            batch = order[start : start + self.meta_batch_size]
            yield self._small_enough(batch, rng).tolist()

    def _small_enough(self, batch: Ints, rng: np.random.Generator) -> Ints:
        for _ in range(_DRAWS):
            if self.sizes[batch].sum() <= self.max_nodes:
                return batch
            batch = rng.choice(len(self.sizes), self.meta_batch_size, replace=False)
        raise ValueError(
            f"{_DRAWS} random meta-batches of {self.meta_batch_size} architectures all had more than {self.max_nodes} "
            "nodes; use smaller ones (meta_batch_size) or allow more nodes (max_nodes)"
        )
