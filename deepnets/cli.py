"""The command `deepnets`: generate, inspect, verify, summarize and plot files of networks; trace any network.

Each subcommand is a dataclass, whose fields are its options. Modules are imported when a subcommand runs, so that
`deepnets --help` is quick.
"""

import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg, subcommand

from deepnets.utils.atomic_files import atomic_write, check_writable, write_json
from deepnets.utils.command_line import command_line, run_command, sigterm_interrupts
from deepnets.utils.errors import InputError, printable
from deepnets.utils.figures import check_figure_suffix

_SPLITS = (
    "{train,val,test,wide,deep,dense,bnfree,search,torchvision74,predefined,"
    "nasbench101,nasbench201,nasbench301,nasbench_macro,timm}"
)


"""Networks whose graphs are built again by default."""


@dataclass(frozen=True)
class Generate:
    """Generate a split of DeepNets-1M or of trained architectures; the same command continues an interrupted run."""

    split: Annotated[str, arg(metavar=_SPLITS)]
    """Name of the split; it sets the sampling rules and the size, or the list of published architectures."""
    root: Path = Path("data")
    """Folder of the file deepnets1m_<split>.hdf5, or <split>.hdf5 of trained architectures."""
    num: int | None = None
    """Number of networks, by default that of the published split."""
    seed: int = 0
    """Root seed; network i depends on (seed, split, i) only."""
    workers: int | None = None
    """Local processes, by default one per core."""
    scheduler: str | None = None
    """Address of a Dask scheduler that runs the work instead of local processes."""
    compress: bool = False
    """Compress the columns: a seventh of the size, slower to read."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> int:
        """Write the file, and print its size and hash."""
        from deepnets.datasets.generation import generate, split_path
        from deepnets.storage.column_reader import ColumnFile

        start = time.monotonic()
        path = generate(
            split_path(self.root, self.split),
            self.split,
            num=self.num,
            seed=self.seed,
            workers=self.workers,
            scheduler=self.scheduler,
            compress=self.compress,
            overwrite=self.overwrite,
        )
        header = ColumnFile(path).header
        size = path.stat().st_size
        print(
            f"{path}: {header.num_networks:,} networks, {size / 1e6:,.1f} MB "
            f"({size / header.num_networks:,.0f} bytes per network) in {time.monotonic() - start:,.1f} s\n"
            f"content sha256 {header.content_sha256}"
        )
        return 0


@dataclass(frozen=True)
class Info:
    """Show what a file contains."""

    file: Positional[Path]
    """A file of networks."""

    def run(self) -> int:
        """Print header and columns."""
        from deepnets.storage.column_reader import FORMAT, ColumnFile

        file = ColumnFile(self.file)
        print(f"{self.file}: {FORMAT} format, {self.file.stat().st_size:,} bytes")
        for field, value in asdict(file.header).items():
            print(f"{field:>16}  {printable(value)}")
        for name in file.names:
            shape, dtype = file.describe(name)
            print(f"  {printable(name):<32} {dtype:<8} {' x '.join(map(str, shape))}")
        return 0


@dataclass(frozen=True)
class Verify:
    """Check the checksum of every column and what graphs and architectures mean; exit code 1 if not all is right."""

    file: Positional[Path]
    """A file of networks."""
    all: bool = False
    """Build every graph again from its architecture, not only 2,000 drawn at random."""

    def run(self) -> int:
        """Print the damaged columns, or what is wrong with their content."""
        from deepnets.storage.column_reader import ColumnFile, find_damaged_columns
        from deepnets.storage.verification import REBUILT, find_wrong_content, is_generated

        problems = [f"{self.file}: {name} does not match its checksum" for name in find_damaged_columns(self.file)]
        if not problems:
            problems = find_wrong_content(self.file, None if self.all else REBUILT)
        for problem in problems:
            print(printable(problem), file=sys.stderr)
        if not problems:
            file = ColumnFile(self.file)
            print(f"{self.file}: all {len(file.names)} columns match; content sha256 {file.header.content_sha256}")
            header = file.header
            if is_generated(header):
                print(f"its networks are the first {header.num_networks:,} of {header.split} with seed {header.seed}")
        return 1 if problems else 0


@dataclass(frozen=True)
class Stats:
    """Print and save Table 1 of the DeepNets-1M paper for files of networks, beside the published values."""

    files: Positional[tuple[Path, ...]]
    """Files of networks; traced ones, as torchvision74, have no cells and are not plotted."""
    out: Path = Path("stats")
    """Folder for table_1.txt and table_1.json (and figure_6.png)."""
    plot: bool = False
    """Also plot the six panels of Figure 6 that need no training."""
    overwrite: bool = False
    """Replace existing results."""

    def run(self) -> int:
        """Print the table, save it and the figure."""
        from deepnets.analysis.statistics import statistics_of_files
        from deepnets.analysis.table_1 import format_table_1
        from deepnets.sampling.splits import SPLITS
        from deepnets.storage.column_reader import check_undamaged
        from deepnets.storage.network_file import NetworkFile, open_graphs

        if not self.files:
            raise InputError("no file is given; name one or more files of networks")
        figure, table, data = (self.out / name for name in ("figure_6.png", "table_1.txt", "table_1.json"))
        check_writable(table, data, *([figure] if self.plot else []), overwrite=self.overwrite)
        for path in self.files:
            check_undamaged(path)
        files = {file.header.split: file for file in map(open_graphs, self.files)}
        files = {split: files[split] for split in sorted(files, key=[*SPLITS, *files].index)}
        if len(files) < len(self.files):
            raise InputError("two files hold the same split; give one file for each split")
        self.out.mkdir(parents=True, exist_ok=True)
        statistics = statistics_of_files(files)
        text = format_table_1(statistics)
        print(text)
        atomic_write(table, text + "\n")
        write_json(data, {split: of_split.to_dict() for split, of_split in statistics})
        if self.plot:
            from deepnets.analysis.statistics_plot import plot_statistics

            networks = {split: file for split, file in files.items() if isinstance(file, NetworkFile)}
            plot_statistics(networks, networks.get("train"), figure)
        print(f"saved in {self.out}")
        return 0


@dataclass(frozen=True)
class Plot:
    """Plot the graph of one network in topological layers."""

    file: Positional[Path]
    """A file of networks."""
    index: int
    """Index of the network; negative ones count from the end."""
    out: Path | None = None
    """The figure (.png, .pdf or .svg), by default <split>_<index>.png."""
    overwrite: bool = False
    """Replace an existing figure."""

    def run(self) -> int:
        """Write the figure."""
        from deepnets.storage.network_file import open_graphs

        file = open_graphs(self.file)
        try:
            index = file.check_index(self.index)
        except IndexError as error:
            raise InputError(error) from None
        graph = file.graph(index)
        # The split is a text of the file, which must not lead to another folder.
        out = Path(re.sub(r"[^A-Za-z0-9_-]", "_", f"{file.header.split}_{index}")[-100:] + ".png")
        out = out if self.out is None else self.out
        check_writable(out, overwrite=self.overwrite)
        _check_folders(out)
        from deepnets.analysis.graph_plot import plot_graph

        plot_graph(graph, out, title=f"{file.models[index]}: {len(graph)} nodes")
        print(f"{out}: network {index} of {self.file}, {len(graph)} nodes, {graph.edge_index.shape[1]} edges")
        return 0


def _check_folders(*paths: Path) -> None:
    """Raise FileNotFoundError if the folder of a file to be written does not exist."""
    for path in paths:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")


@dataclass(frozen=True)
class Trace:
    """Trace any network to its graph, and say what the graph leaves out."""

    model: Positional[str]
    """A torchvision model, timm:NAME, package.module:factory, or file.py:factory."""
    input_size: tuple[int, ...] = ()
    """Side of a square image (224), or the shape of the input without the batch (3 224 160)."""
    inputs: str | None = None
    """A function that makes what the model is called with: file.py:function or package.module:function."""
    strict: bool = False
    """Fail if a parameter has no node."""
    plot: Path | None = None
    """Plot the graph (.png, .pdf or .svg)."""
    json: Path | None = None
    """Write nodes, edges and report as JSON."""
    hdf5: Path | None = None
    """Write a file of graphs that the other subcommands read."""
    overwrite: bool = False
    """Replace existing results."""

    def run(self) -> int:
        """Print a summary and write what was asked for."""
        from deepnets.tracing.model_loader import loaded_inputs, loaded_model
        from deepnets.tracing.summary import graph_dict, summary
        from deepnets.tracing.tracer import trace

        results = [path for path in (self.plot, self.json, self.hdf5) if path is not None]
        check_writable(*results, overwrite=self.overwrite)
        if len({path.absolute() for path in results}) < len(results):
            raise InputError("plot, json and hdf5 name the same file; each needs a name of its own")
        _check_folders(*results)
        if self.plot is not None:
            check_figure_suffix(self.plot)
        if self.input_size and self.inputs is not None:
            raise InputError("--input-size and --inputs exclude each other")
        size = self.input_size[0] if len(self.input_size) == 1 else self.input_size or None
        inputs = None if self.inputs is None else loaded_inputs(self.inputs)
        with loaded_model(self.model) as model:
            start = time.monotonic()
            graph = trace(model, size, inputs, strict=self.strict)
        print(summary(self.model, graph, time.monotonic() - start))
        if self.json is not None:
            atomic_write(self.json, json.dumps(graph_dict(graph)) + "\n")
        if self.hdf5 is not None:
            from deepnets.storage.graph_file import write_graphs

            write_graphs(self.hdf5, "traced", {self.model: graph}, self.overwrite)
        if self.plot is not None:
            from deepnets.analysis.graph_plot import plot_graph

            plot_graph(graph, self.plot, title=f"{self.model}: {len(graph)} nodes")
        return 0


@dataclass(frozen=True)
class Import:
    """Import a published file: one file for each of its splits, every graph checked."""

    file: Positional[Path | None] = None
    """The HDF5 file, with its _meta.json beside it."""
    hub: Annotated[str | None, arg(metavar="{train,eval,search}")] = None
    """Download the published file from the Hugging Face hub first, into the subfolder published of the root."""
    root: Path = Path("data")
    """Folder of the files."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> int:
        """Print how the recorded graphs compare with those built from the architectures."""
        from deepnets.published.hub import download_from_hub, md5_warning
        from deepnets.published.importer import import_file

        if (self.file is None) == (self.hub is None):
            raise InputError("name either a file or, with --hub, what to fetch")
        # Not into the root itself: a published file has the name of one of ours.
        published = self.root / "published"
        source = self.file if self.file is not None else download_from_hub(str(self.hub), published)
        reports = import_file(source, self.root, self.overwrite)
        if self.hub is None and (warning := md5_warning(source)):
            print(warning, file=sys.stderr)
        print("\n".join(report.text() for report in reports))
        return 0


@dataclass(frozen=True)
class Export:
    """Write files of networks in the published format."""

    files: Positional[tuple[Path, ...]]
    """Files of networks, one for each split."""
    out: Path
    """The HDF5 file; the metadata goes beside it."""

    def run(self) -> int:
        """Write both files."""
        from deepnets.published.exporter import export_files

        if not self.files:
            raise InputError("no file is given; name one or more files of networks")
        export_files(self.files, self.out)
        print(f"{self.out} and its _meta.json: {len(self.files)} splits")
        return 0


Command = (
    Annotated[Generate, subcommand("generate")]
    | Annotated[Info, subcommand("info")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Stats, subcommand("stats")]
    | Annotated[Plot, subcommand("plot")]
    | Annotated[Trace, subcommand("trace")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Export, subcommand("export")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 for a damaged file, or as in `run_command`."""
    about = "Architecture graphs of DeepNets-1M. deepnets --version prints the version."
    with sigterm_interrupts():
        return run_command(
            lambda: tyro.cli(Command, prog="deepnets", description=about, args=command_line(arguments)).run(), arguments
        )


if __name__ == "__main__":
    sys.exit(main())
