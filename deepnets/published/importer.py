"""The published file format of DeepNets-1M: import, with every graph checked, and export.

`deepnets1m_{train,eval,search}.hdf5` holds `/<split>/<index>/adj`, shortest-path distances of which 1 is an edge, and
`/<split>/<index>/nodes`, rows (primitive, cell, name) of indices into the metadata file beside it,
`deepnets1m_..._meta.json`, which also has the architectures.

What is imported are the architectures; their graphs are made anew and the recorded ones compared with them. Two known
defects of recorded graphs are repaired for the comparison, as the GHN-3 code does while reading: with an
ImageNet-style stem, cell 1 reads stem0 instead of stem1; and nodes that read one tensor have several incoming edges.
Files made by today's published generator have the rows of `nodes` grouped by cell, `adj` in topological order.
"""

import hashlib
import json
import os
import re
import tarfile
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
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.published.graph_compare import LabelledGraph, Vocabulary, compare, difference
from deepnets.published.metadata import BLOCK, Metadata
from deepnets.sampling.evaluation_widths import WIDE_FACTORS, split_channels
from deepnets.sampling.proposals import GENERATION_CHANNELS
from deepnets.sampling.sampler import Networks
from deepnets.sampling.splits import SPLITS
from deepnets.storage.column_reader import refuse_damaged
from deepnets.storage.column_writer import new_file
from deepnets.storage.network_file import NetworkFile, network_columns
from deepnets.storage.sharded_file import PartialFile, Plan, fingerprint
from deepnets.symbolic.block_tables import NAMES
from deepnets.symbolic.builder import build_graphs
from deepnets.utils.atomic_files import atomic_write, move_into_place
from deepnets.utils.errors import FileError, unknown_choice

Ints = NDArray[np.int64]

MD5 = {
    "deepnets1m_eval.hdf5": "1f5641329271583ad068f43e1521517e",
    "deepnets1m_meta.tar.gz": "a42b6f513da6bbe493fc16a30d6d4e3e",
    "deepnets1m_search.hdf5": "0a93f4b4e3b729ea71eb383f78ea9b53",
    "deepnets1m_train.hdf5": "90bbe84bb1da0d76cdc06d5ff84fa23d",
}
"""Of the published files."""

HUB_DATASET = "SamsungSAILMontreal/deepnets1m"

_CUTOFF = 250  # longest distance that is exported, which still fits uint8
_EXAMPLES = 5


@dataclass
class ImportReport:
    """How the recorded graphs of a split compare with those made from its architectures.

    Args:
        split: which split.
        networks: how many networks it has.
        equal: recorded graphs that are equal as they are.
        repaired: equal after the known defects are repaired.
        misaligned: equal but for the order of the rows of `nodes`, which does not fit `adj`.
        different: all others; `examples` says what differs in the first few.
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
        """Of all parts of a split."""
        counts = [name for name, value in asdict(reports[0]).items() if isinstance(value, int)]
        examples = [example for report in reports for example in report.examples]
        sums = {name: sum(getattr(report, name) for report in reports) for name in counts}
        return cls(reports[0].split, **sums, examples=examples[:_EXAMPLES])

    def text(self) -> str:
        """One line, and one for each example."""
        counts = ", ".join(f"{count:,} {name}" for name, count in asdict(self).items() if isinstance(count, int))
        return "\n".join([f"{self.split}: {counts}", *(f"  {example}" for example in self.examples)])


def md5_warning(path: Path) -> str | None:
    """A sentence if the file has the name of a published one, but is another."""
    expected = MD5.get(path.name)
    if expected is None:
        return None
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found == expected:
        return None
    return f"{path} is not the published file of this name (MD5 {found} instead of {expected})"


def import_file(source: Path, root: Path, overwrite: bool = False) -> list[ImportReport]:
    """Read a published file into one file for each of its splits.

    The text of the metadata stays in memory (0.5 GB for train), of the networks a few thousand at a time. An import
    that was interrupted goes on where it was; the files get their names when all of them are complete, and their
    folders go when all have their names.

    Args:
        source: the HDF5 file, with its `_meta.json` beside it.
        root: folder of the files `deepnets1m_<split>.hdf5`.
        overwrite: replace existing ones.

    Raises:
        FileExistsError: a file exists already.
        FileError: the source is missing or damaged, it has the path of one of the files, or they cannot be written.
    """
    metadata = Metadata(source)
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise FileError(f"{source} is missing, truncated or not an HDF5 file ({error})") from None
    with file, ExitStack() as locks:
        targets = [PartialFile(split_path(root, split), _plan(metadata, split)) for split in metadata.splits]
        for target in targets:
            _check_count(file, metadata, target.plan.split)
            _check_apart(source, target.path)
            target.check_new(overwrite)
        for target in targets:
            locks.enter_context(target.opened(overwrite))
        reports = [_import_split(file, metadata, target) for target in targets]
        for target in targets:
            target.assemble()
        for target in targets:
            target.merge(overwrite)
        return reports


def _plan(metadata: Metadata, split: str) -> Plan:
    if split not in SPLITS:
        raise FileError(f"{metadata.source} cannot be imported: {unknown_choice('split', split, SPLITS)}")
    name = metadata.source.name
    return Plan(
        split,
        metadata.splits[split].count,
        seed=0,
        compress=False,
        shard_size=BLOCK,
        source=f"{name}, {fingerprint(metadata.source)}",
        toolkit_version=f"{deepnets.__version__}, imported from {name}",
    )


def _check_count(file: h5py.File, metadata: Metadata, split: str) -> None:
    groups, count = len(file[split]) if split in file else 0, metadata.splits[split].count
    if groups != count:
        raise FileError(f"{metadata.source} has {groups} graphs of {split}, its metadata {count}")


def _check_apart(source: Path, path: Path) -> None:
    if path.exists() and path.samefile(source):
        raise FileError(f"{source} is itself where its networks would go; choose another folder for them (--root)")


def _import_split(file: h5py.File, metadata: Metadata, target: PartialFile) -> ImportReport:
    """Write the shards that are missing; the report is about all of them."""
    plan = target.plan
    with tqdm(total=plan.num, initial=target.num_finished(), desc=plan.split, unit=" networks") as bar:
        for shard in target.missing():
            nets = metadata.block(plan.split, shard[0])
            networks = _networks(plan.split, nets, metadata.source)
            report = ImportReport(plan.split)
            _compare_block(report, file[plan.split], shard[0], nets, networks, metadata.splits[plan.split].vocabulary)
            target.write(shard, network_columns(networks, _steps(plan.split, networks)), asdict(report))
            bar.update(len(nets))
    return ImportReport.total([ImportReport(**target.finished[shard]) for shard in plan.shards()])


def _steps(split: str, networks: Networks) -> int:
    """Steps that the columns have room for; those of the split, unless an architecture has more."""
    usual = SPLITS[split].max_steps
    return usual if 2 * usual >= networks.table.ops.shape[2] else MAX_STEPS


def _networks(split: str, nets: Sequence[dict[str, Any]], source: Path) -> Networks:
    """Architectures of the metadata, with their graphs made anew."""
    try:
        architectures = [Architecture.from_dict(net) for net in nets]
        recorded = _recorded_channels(split, nets, architectures)
        for net in nets:
            if not isinstance(net.get("num_params", {}), dict):
                raise ValueError(f"num_params is {net['num_params']!r}; accepted: numbers by data set")
    except (ValueError, TypeError, AttributeError) as error:
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
        raise ValueError("some have the width C, others have none")
    factors = WIDE_FACTORS if split == "wide" else dict.fromkeys(IMAGE_SIZES, 1)
    return {
        size: np.array([replace(a, channels=factor * a.channels).channels for a in architectures], np.int64)
        for size, factor in factors.items()
    }


def _compare_block(
    report: ImportReport,
    group: h5py.Group,
    start: int,
    nets: Sequence[dict[str, Any]],
    networks: Networks,
    vocabulary: "Vocabulary",
) -> None:
    for row, net in enumerate(nets):
        graphs = networks.graphs.take(np.array([row]))
        shape = np.zeros((len(graphs.op), 4), np.int32)  # not recorded, so not compared
        symbolic = LabelledGraph.of(graphs.arch_graphs(shape, NAMES)[0])
        index = start + row
        try:
            recorded = vocabulary.read(group[str(index)])
        except (KeyError, OSError, IndexError, ValueError) as error:
            raise FileError(f"graph {index} of {report.split} cannot be read ({error})") from None
        outcome = compare(recorded, symbolic)
        report.networks += 1
        setattr(report, outcome, getattr(report, outcome) + 1)
        if outcome == "different" and len(report.examples) < _EXAMPLES:
            report.examples.append(f"{index}: {difference(recorded, symbolic)}")
        exact = {"cifar10": networks.num_params(32)[row], "imagenet": networks.num_params(224)[row]}
        params = net.get("num_params", {})
        report.wrong_params += any(params.get(name, count) != count for name, count in exact.items())


def export_files(sources: Sequence[Path], target: Path) -> None:
    """Write files of networks in the published format: `target` and its `_meta.json`.

    Raises:
        FileExistsError: one of the two exists already.
        FileError: a source cannot be read or is damaged, or two hold the same split.
    """
    files = [NetworkFile(source) for source in sources]
    splits = [file.header.split for file in files]
    if len(set(splits)) < len(splits):
        raise FileError(f"several files hold the same split ({', '.join(splits)}); give one file for each")
    metadata = target.with_name(target.stem + "_meta.json")
    for path in (target, metadata):
        if path.exists():
            raise FileExistsError(f"{path} exists already; nothing is overwritten unasked")
    for source in sources:
        refuse_damaged(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = metadata.with_name(f".{metadata.name}.tmp")
    try:
        with new_file(target) as out:
            out.attrs["title"] = "DeepNets-1M"
            with open(temporary, "w") as text:
                for number, file in enumerate(files):
                    text.write("{" if number == 0 else ", ")
                    _export_split(file, out.create_group(file.header.split), text)
                text.write("}")
                text.flush()
                os.fsync(text.fileno())
            move_into_place(temporary, metadata)  # before the graphs, which nobody could read without it
    finally:
        temporary.unlink(missing_ok=True)


def _export_split(file: NetworkFile, group: h5py.Group, text: Any) -> None:
    split = file.header.split
    names: dict[str, int] = {}
    primitives: dict[str, int] = {}
    large = NetworkFile(file.file.path, image_size=224)
    text.write(f'"{split}": {{"nets": [')
    for index in tqdm(range(len(file)), desc=split, unit=" networks"):
        graph = file.graph(index)
        kinds = [_published_primitive(op, shape) for op, shape in zip(graph.op.tolist(), graph.shape, strict=True)]
        local = [re.sub(r"^cells\.\d+\.", "", name) for name in graph.name.tolist()]
        rows = [
            (primitives.setdefault(kind, len(primitives)), cell, names.setdefault(name, len(names)))
            for kind, cell, name in zip(kinds, graph.cell.tolist(), local, strict=True)
        ]
        group.create_dataset(f"{index}/adj", data=graph.distances(_CUTOFF).astype(np.uint8))
        group.create_dataset(f"{index}/nodes", data=np.array(rows, np.uint16))
        net = file.architecture(index).to_dict() | {"num_nodes": len(graph)}
        net["C"] = large.architecture(index).channels // 2 if split == "wide" else net["C"]
        net["num_params"] = {"cifar10": int(file.num_params()[index]), "imagenet": int(large.num_params()[index])}
        text.write((", " if index else "") + json.dumps(net))
    meta = {key: {str(v): k for k, v in d.items()} for key, d in _vocabularies(primitives, names)}
    text.write(f'], "meta": {json.dumps(meta)}}}')


def _vocabularies(primitives: dict[str, int], names: dict[str, int]) -> list[tuple[str, dict[str, int]]]:
    return [("primitives_ext", primitives), ("unique_op_names", names)]


def _published_primitive(op: int, shape: NDArray[np.int32]) -> str:
    """Published files tell 1x1 convolutions and linear layers from other convolutions."""
    name = PRIMITIVES[op]
    return "conv_1x1" if name == "conv" and shape[2] == shape[3] == 1 else name


def download_from_hub(kind: str, folder: Path) -> Path:
    """Fetch what is missing of a published file and its metadata from the Hugging Face hub; the path of the HDF5 file.

    Args:
        kind: train, eval or search.
        folder: where the files go; a published file that is there is not fetched again.

    Raises:
        ValueError: an unknown kind, or the extra `hub` is missing.
        FileError: the hub cannot be reached, or a file is not the published one.
    """
    if kind not in ("train", "eval", "search"):
        raise ValueError(unknown_choice("published file", kind, ("train", "eval", "search")))
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ValueError("--hub needs the extra 'hub': pip install 'deepnets1m[hub]'") from None
    file, packed = folder / f"deepnets1m_{kind}.hdf5", folder / "deepnets1m_meta.tar.gz"
    for path in (file, packed):
        try:
            if not path.exists():  # the hub's client removes files that differ
                hf_hub_download(HUB_DATASET, path.name, repo_type="dataset", local_dir=folder)
        except Exception as error:  # whatever the hub's client raises without a network
            raise FileError(
                f"cannot fetch {path.name} of {HUB_DATASET} ({type(error).__name__}); "
                f"get it in another way and name its path: deepnets import PATH"
            ) from None
        if warning := md5_warning(path):
            raise FileError(f"{warning}; move it away to fetch that one")
    with tarfile.open(packed) as archive:
        wanted = f"deepnets1m_{kind}_meta.json"
        member = next((m for m in archive.getmembers() if Path(m.name).name == wanted and m.isfile()), None)
        content = None if member is None else archive.extractfile(member)
        if content is None:
            raise FileError(f"{packed} lacks {wanted}")
        atomic_write(folder / wanted, content.read())
    return file
