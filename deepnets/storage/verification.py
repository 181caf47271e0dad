"""Check of a file's content, beyond its checksums: a file may have right checksums and impossible graphs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import deepnets
from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.design_space.image_sizes import IMAGE_SIZES
from deepnets.sampling.evaluation_widths import split_channels
from deepnets.sampling.proposals import GENERATION_CHANNELS
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.storage.column_reader import Header, check_undamaged
from deepnets.storage.graph_file import GraphFile
from deepnets.storage.network_file import (
    NetworkFile,
    find_bad_architecture,
    find_different,
    network_columns,
    open_graphs,
    rebuild_graphs,
)
from deepnets.storage.truth_columns import read_truth
from deepnets.utils.errors import FileError

Ints = NDArray[np.int64]

REBUILT = 2000
"""Number of networks that are built again from their architectures, unless all are."""
_SAMPLED = 100  # networks that are sampled together
_BLOCK = 2000  # networks that are checked together


def find_wrong_content(path: Path, rebuild: int | None = None) -> list[str]:
    """Return a sentence for each fault in the graphs and architectures of a file whose checksums match.

    Values must be in range, and edges sorted and from earlier to later nodes. Graphs, widths and parameter counts of
    networks of the design space are computed from their architectures and compared. Networks that this version of the
    toolkit generated are sampled again: they must be those of the split and the seed.

    Args:
        path: the file.
        rebuild: number of networks, drawn at random, that are built and sampled again; None for all.

    Raises:
        FileError: the file cannot be opened.
    """
    file = open_graphs(path)
    try:
        read_truth(file.file)
        len(file.models)
        for start in range(0, len(file), _BLOCK):
            _check_graphs(file, slice(start, min(start + _BLOCK, len(file))))
    except FileError as error:
        return [str(error)]
    if not isinstance(file, NetworkFile):
        return []
    files = {size: NetworkFile(path, size) for size in IMAGE_SIZES}
    for index in range(0, len(file), _BLOCK):
        for of_size in files.values():
            if problem := find_bad_architecture(of_size.table(slice(index, index + _BLOCK))):
                return [f"{path}: networks {index} to {index + _BLOCK - 1}: {problem}"]
    problems = [*_rebuilt(files, _drawn(len(file), rebuild)), *_sampled_again(file, rebuild)]
    return [f"{path}: {problem}" for problem in problems]


def check_content(path: Path, rebuild: int | None = REBUILT) -> None:
    """Check checksums and content of a file, as `deepnets verify` does.

    Args:
        path: the file.
        rebuild: as in `find_wrong_content`.

    Raises:
        FileError: something is wrong.
    """
    check_undamaged(path)
    if problems := find_wrong_content(path, rebuild):
        raise FileError(problems[0])


def _check_graphs(file: GraphFile, index: slice) -> None:
    """Raise FileError if values are out of range, or edges out of order or double."""
    graphs = file.graphs(index)
    owner = np.repeat(np.arange(len(graphs)), graphs.num_edges)
    owners, targets, sources = (np.diff(ends.astype(np.int64)) for ends in (owner, graphs.edge_dst, graphs.edge_src))
    in_order = (owners > 0) | (targets > 0) | ((targets == 0) & (sources > 0))
    if not in_order.all():
        network = index.start + int(owner[1:][~in_order][0])
        raise FileError(f"{file.file.path}: the edges of network {network} are not in order, or double")


def _drawn(count: int, rebuild: int | None) -> Ints:
    """Return the networks to be built again, drawn anew each time: nobody can know where not to look."""
    if rebuild is None or rebuild >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng().choice(count, rebuild, replace=False))


def _rebuilt(files: dict[int, NetworkFile], networks: Ints) -> Iterator[str]:
    """Build networks again from their architectures, and yield how the file differs, at most once in a block."""
    for index in np.array_split(networks, max(1, -(-len(networks) // _BLOCK))):
        first = files[IMAGE_SIZES[0]]
        table = first.table(index)
        unpruned = rebuild_graphs(table)
        for size, file in files.items():
            counts = unpruned.count_parameters(size, 10)
            for at in np.flatnonzero(counts != file.num_params()[index])[:1]:
                yield f"the parameter count of network {index[at]} for image size {size} is not {counts[at]}"
        different = find_different(first.graphs(index), unpruned.prune())
        if different is not None:
            yield f"the graph of network {index[different]} is not that of its architecture"
        yield from _wrong_widths(files, index, table)


def is_generated(header: Header) -> bool:
    """Tell whether a file says that this version of the toolkit generated its networks."""
    return header.split in SPLITS and header.toolkit_version == deepnets.__version__


def _sampled_again(file: NetworkFile, most: int | None) -> Iterator[str]:
    """Yield the first network of a sampled block that is not the one of its split, seed and index."""
    if not is_generated(file.header):
        return
    starts = np.arange(0, len(file), _SAMPLED)
    chosen = starts if most is None else starts[_drawn(len(starts), -(-most // _SAMPLED))]
    for start in chosen.tolist():
        stop = min(start + _SAMPLED, len(file))
        networks = sample_networks(file.header.split, start, stop, file.header.seed)
        steps = max(file.file.describe("architectures/ops")[0][2], networks.table.ops.shape[2]) // 2
        for name, column in network_columns(networks, steps).items():
            if name.startswith("architectures/"):
                recorded = file.file.rows(name, start, stop)
                same = column.shape == recorded.shape and (column == recorded).reshape(stop - start, -1).all(axis=1)
                if not np.all(same):
                    at = start + int(np.argmin(same))
                    yield f"network {at} is not the one of {file.header.split} with seed {file.header.seed} ({name})"
                    return


def _wrong_widths(files: dict[int, NetworkFile], index: Ints, table: ArchitectureTable) -> Iterator[str]:
    """Yield how widths differ from those that the toolkit gives the networks of a split.

    Imported files have the widths that their authors recorded.
    """
    header = files[IMAGE_SIZES[0]].header
    if header.split not in SPLITS or "imported" in header.toolkit_version:
        return
    for size, channels in split_channels(header.split, table.with_channels(_generated(len(table)))).items():
        for at in np.flatnonzero(channels != files[size].table(index).channels)[:1]:
            yield f"the width of network {index[at]} for image size {size} is not {channels[at]}"


def _generated(count: int) -> Ints:
    return np.full(count, GENERATION_CHANNELS)
