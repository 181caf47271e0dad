"""Import of files in the published format of DeepNets-1M, with every recorded graph checked.

`deepnets1m_{train,eval,search}.hdf5` holds `/<split>/<index>/adj`, shortest-path distances (1 is an edge), and
`/<split>/<index>/nodes`, rows (primitive, cell, name) of indices into the metadata file beside it,
`deepnets1m_..._meta.json`, which also has the architectures.

The architectures are imported; their graphs are built again and compared with the recorded ones. Two known defects of
recorded graphs are repaired for the comparison, as the GHN-3 code does while reading: with an ImageNet-style stem,
cell 1 reads stem0 instead of stem1; and nodes that read one tensor have several incoming edges. Files made by today's
published generator have the rows of `nodes` grouped by cell, but `adj` in topological order.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import deepnets
from deepnets.datasets.generation import split_path
from deepnets.design_space.architecture import Architecture
from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.design_space.genotype import MAX_STEPS
from deepnets.design_space.image_sizes import IMAGE_SIZES
from deepnets.published.graph_compare import (
    LabelledGraph,
    Outcome,
    Vocabulary,
    compare_graphs,
    describe_difference,
    read_member,
)
from deepnets.published.metadata import BLOCK, Metadata
from deepnets.sampling.evaluation_widths import WIDE_FACTORS, split_channels
from deepnets.sampling.proposals import GENERATION_CHANNELS
from deepnets.sampling.sampler import Networks
from deepnets.sampling.splits import SPLITS
from deepnets.storage.network_file import network_columns
from deepnets.storage.sharded_file import Shard, ShardedFile, ShardPlan, file_state
from deepnets.symbolic.block_tables import NAMES
from deepnets.symbolic.builder import build_graphs
from deepnets.utils.errors import FileError, InputError, is_mistake, one_line, unknown_choice

Ints = NDArray[np.int64]

_MAX_EXAMPLES = 5
_SPARE_NODES = 1000  # recorded graphs may have other nodes than those of the architecture, but not many more


@dataclass
class ImportReport:
    """Counts of how the recorded graphs of a split compare with those built from its architectures.

    Args:
        split: name of the split.
        networks: number of networks that were compared.
        equal: recorded graphs that are equal as they are.
        repaired: graphs that are equal after the known defects are repaired.
        misaligned: graphs that are equal except that the rows of `nodes` are not in the order of `adj`.
        different: all other graphs; `examples` says what differs in the first few.
        wrong_params: networks whose recorded parameter counts differ from the exact ones.
    """

    split: str
    networks: int = 0
    equal: int = 0
    repaired: int = 0
    misaligned: int = 0
    different: int = 0
    wrong_params: int = 0
    examples: list[str] = field(default_factory=list)

    @classmethod
    def total(cls, reports: Sequence["ImportReport"]) -> "ImportReport":
        """Add up the reports of the parts of a split."""
        counts = [name for name, value in asdict(reports[0]).items() if isinstance(value, int)]
        examples = [example for report in reports for example in report.examples]
        sums = {name: sum(getattr(report, name) for report in reports) for name in counts}
        return cls(reports[0].split, **sums, examples=examples[:_MAX_EXAMPLES])

    def text(self) -> str:
        """Return the counts as one line, followed by one line for each example."""
        counts = ", ".join(f"{count:,} {name}" for name, count in asdict(self).items() if isinstance(count, int))
        return "\n".join([f"{self.split}: {counts}", *(f"  {example}" for example in self.examples)])

    def count(self, outcome: Outcome) -> None:
        """Count one network."""
        self.networks += 1
        setattr(self, outcome, getattr(self, outcome) + 1)


def import_file(source: Path, root: Path, overwrite: bool = False) -> list[ImportReport]:
    """Import a published file: one file for each of its splits.

    The text of the metadata stays in memory (0.5 GB for train), networks a few thousand at a time. An interrupted
    import is continued by the same call. The files get their names when all of them are complete, and the `.partial`
    folders are deleted once every file is in place.

    Args:
        source: the HDF5 file, with its `_meta.json` beside it.
        root: folder of the new files `deepnets1m_<split>.hdf5`.
        overwrite: replace existing files.

    Returns:
        One report for each split.

    Raises:
        FileExistsError: a file exists already.
        FileError: the source is missing or damaged or would be overwritten, or a file cannot be written.
    """
    source, root = source.expanduser(), root.expanduser()
    metadata = Metadata(source)
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise FileError(f"{source} is missing, truncated or not an HDF5 file ({error})") from None
    with file, ExitStack() as locks:
        targets = [ShardedFile(split_path(root, split), _shard_plan(metadata, split)) for split in metadata.splits]
        for target in targets:
            _check_count(file, metadata, target.plan.split)
            _check_not_source(source, target.path)
            target.check_new(overwrite)
        for target in targets:
            locks.enter_context(target.locked(overwrite))
        reports = [_import_split(file, metadata, target) for target in targets]
        for target in targets:
            target.assemble()
        for target in targets:
            target.publish(overwrite)
        return reports


def _shard_plan(metadata: Metadata, split: str) -> ShardPlan:
    if split not in SPLITS:
        raise FileError(f"{metadata.source} cannot be imported: {unknown_choice('split', split, SPLITS)}")
    name = metadata.source.name
    return ShardPlan(
        split,
        metadata.splits[split].count,
        seed=0,
        compress=False,
        shard_size=BLOCK,
        source=f"{name}, {file_state(metadata.source)}",
        toolkit_version=f"{deepnets.__version__}, imported from {name}",
    )


def _check_count(file: h5py.File, metadata: Metadata, split: str) -> None:
    try:
        num_groups = len(read_member(file, split, h5py.Group)) if split in file else 0
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        if is_mistake(error, through=()):
            raise
        raise FileError(f"{metadata.source} is damaged: {one_line(error)}") from None
    count = metadata.splits[split].count
    if num_groups != count:
        raise FileError(f"{metadata.source} has {num_groups} graphs of {split}, its metadata {count}")


def _check_not_source(source: Path, path: Path) -> None:
    if path.exists() and path.samefile(source):
        raise FileError(f"{source} would be overwritten with its own networks; choose another folder for them (--root)")


def _import_split(file: h5py.File, metadata: Metadata, target: ShardedFile) -> ImportReport:
    """Write the missing shards of a split, and report on all of its shards."""
    plan = target.plan
    vocabulary = metadata.splits[plan.split].vocabulary
    with tqdm(total=plan.num, initial=target.num_finished(), desc=plan.split, unit=" networks") as bar:
        for shard in target.missing():
            nets = metadata.block(plan.split, shard.start)
            networks = _build_networks(plan.split, nets, metadata.source)
            report = _compare_block(plan.split, file[plan.split], shard.start, nets, networks, vocabulary)
            target.write(shard, network_columns(networks, _max_steps(plan.split, networks)), asdict(report))
            bar.update(len(nets))
    return ImportReport.total([_read_report(target, shard) for shard in plan.shards()])


def _read_report(target: ShardedFile, shard: Shard) -> ImportReport:
    """Return the report of a shard, which an earlier run may have written.

    Raises:
        FileError: its notes are not a report.
    """
    notes, fresh = target.finished[shard], asdict(ImportReport(target.plan.split))
    if set(notes) != set(fresh) or any(type(notes[name]) is not type(fresh[name]) for name in fresh):
        raise FileError(f"{target.manifest} is damaged; delete its folder and import again")
    return ImportReport(**notes)


def _max_steps(split: str, networks: Networks) -> int:
    """Return for how many steps the columns have room: those of the split, unless an architecture has more."""
    usual = SPLITS[split].max_steps
    return usual if 2 * usual >= networks.table.ops.shape[2] else MAX_STEPS


def _build_networks(split: str, nets: Sequence[dict[str, Any]], source: Path) -> Networks:
    """Read architectures from the metadata, and build their graphs."""
    try:
        if not all(isinstance(net, dict) for net in nets):
            raise InputError("it is not an object")
        architectures = [Architecture.from_dict(net) for net in nets]
        recorded = _recorded_channels(split, nets, architectures)
        for net in nets:
            if not isinstance(net.get("num_params", {}), dict):
                raise InputError(f"num_params is {net['num_params']!r}; accepted: numbers by data set")
    except InputError as error:
        raise FileError(f"the metadata of {source} has an architecture that cannot be read: {error}") from None
    table = ArchitectureTable.from_architectures([replace(a, channels=GENERATION_CHANNELS) for a in architectures])
    graphs = build_graphs(table)
    channels = split_channels(split, table) if recorded is None else recorded
    counts = {size: graphs.count_parameters(size, 10) for size in IMAGE_SIZES}
    return Networks(table, channels, counts, graphs.prune())


def _recorded_channels(
    split: str, nets: Sequence[dict[str, Any]], architectures: Sequence[Architecture]
) -> dict[int, Ints] | None:
    """Return the channels by image size, if they are recorded; those of wide have to be multiplied."""
    if not any("C" in net for net in nets):
        return None
    if not all("C" in net for net in nets):
        raise InputError("some have the width C, others have none")
    factors = WIDE_FACTORS if split == "wide" else dict.fromkeys(IMAGE_SIZES, 1)
    return {
        size: np.array([replace(a, channels=factor * a.channels).channels for a in architectures], np.int64)
        for size, factor in factors.items()
    }


def _compare_block(
    split: str,
    group: h5py.Group,
    start: int,
    nets: Sequence[dict[str, Any]],
    networks: Networks,
    vocabulary: Vocabulary,
) -> ImportReport:
    """Compare the recorded graphs of consecutive networks with those built from their architectures.

    Args:
        split: name of the split.
        group: recorded graphs of the split.
        start: index of the first network.
        nets: metadata of the networks.
        networks: architectures with their graphs.
        vocabulary: vocabulary of the recorded graphs.
    """
    report = ImportReport(split)
    for row, net in enumerate(nets):
        graphs = networks.graphs.take(np.array([row]))
        shape = np.zeros((len(graphs.op), 4), np.int32)  # not recorded, so not compared
        symbolic = LabelledGraph.from_graph(graphs.arch_graphs(shape, NAMES)[0])
        index = start + row
        try:
            recorded = vocabulary.read_graph(group, index, _SPARE_NODES + 4 * len(symbolic.op))
        except (KeyError, OSError, ValueError) as error:
            if is_mistake(error, through=()):
                raise
            raise FileError(f"graph {index} of {split} cannot be read ({error})") from None
        outcome = compare_graphs(recorded, symbolic)
        report.count(outcome)
        if outcome == "different" and len(report.examples) < _MAX_EXAMPLES:
            report.examples.append(f"{index}: {describe_difference(recorded, symbolic)}")
        exact = {"cifar10": networks.num_params(32)[row], "imagenet": networks.num_params(224)[row]}
        params = net.get("num_params", {})
        report.wrong_params += any(params.get(name, count) != count for name, count in exact.items())
    return report
