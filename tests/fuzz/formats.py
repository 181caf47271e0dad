"""What is fuzzed: for each format a function that prepares sound inputs and returns the case that spoils them."""

import gzip
import io
import json
import pickle
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.records.record_files import read_record, table_path, write_record
from benchmarks.records.validation import find_problems
from deepnets.datasets.generation import generate
from deepnets.design_space.architecture import Architecture
from deepnets.design_space.named_architectures import darts
from deepnets.published.importer import import_file
from deepnets.storage.column_reader import find_damaged_columns
from deepnets.storage.network_file import NetworkFile, open_graphs
from deepnets.storage.verification import check_content, find_wrong_content
from deepnets.utils.errors import is_mistake
from deepnets.utils.run_directory import read_identity
from ghn_models.checkpoints import folder as checkpoints
from ghn_models.checkpoints.pickle_reader import read_state_dict
from ghn_models.checkpoints.published import from_published, to_published
from ghn_models.config import GHNConfig
from ghn_models.hypernetwork import GHN
from ghn_models.training.run_checkpoints import LatestCheckpoint
from tests.fuzz.harness import Case
from tests.fuzz.mutations import change_columns, changed_bytes, changed_json, changed_tree
from tests.support.made_up_records import made_up_record, rows_of
from tests.support.paths import GOLDEN, LEADERBOARDS
from tests.support.quick_protocols import PLAN
from tests.support.quick_protocols import folder as run_folder
from tests.support.small_ghns import KINDS

FORMATS: dict[str, Callable[[], Case]] = {}


def _format(prepare: Callable[[], Case]) -> Callable[[], Case]:
    FORMATS[prepare.__name__] = prepare
    return prepare


@_format
def data() -> Case:
    """Data files: damaged, or with other columns whose checksums are right."""
    root = Path(tempfile.mkdtemp(prefix="fuzz-base-"))
    bases = [
        generate(root / f"{split}.hdf5", split, num=4, workers=1, compress=compress)
        for split, compress in (("test", False), ("wide", True))
    ]
    contents = {path: path.read_bytes() for path in bases}
    sound = {path: _all_graphs(path) for path in bases}
    shutil.rmtree(root)

    def case(rng: Random, folder: Path) -> str:
        base = rng.choice(bases)
        path = folder / base.name
        bytewise = rng.random() < 0.5
        path.write_bytes(changed_bytes(contents[base], rng) if bytewise else contents[base])
        if not bytewise:
            change_columns(path, rng)
        if find_damaged_columns(path) or find_wrong_content(path):
            with open_graphs(path).file.path.open("rb"):
                pass
            _read_all(path)  # whoever does not verify gets a sentence, or values that can be
            return "verify refuses it"
        assert _all_graphs(path) == sound[base]
        return "verify accepts it"

    return case


def _read_all(path: Path) -> None:
    file = open_graphs(path)
    for index in range(min(len(file), 10)):
        file.graph(index)
        if isinstance(file, NetworkFile):
            file.architecture(index).to_dict()


def _all_graphs(path: Path) -> list[bytes]:
    """Return all that a user reads of a file."""
    result = []
    for size in (32, 224):
        file = open_graphs(path, size)
        for index in range(len(file)):
            graph = file.graph(index)
            parts = (graph.op, graph.edge_index, graph.shape, graph.cell, graph.name.astype("U"))
            result.append(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))
            if isinstance(file, NetworkFile):
                result.append(json.dumps(file.architecture(index).to_dict()).encode())
                result.append(bytes(str(file.num_params()[index]), "ascii"))
    return result


@_format
def published() -> Case:
    """Files in the published format: graphs in HDF5, architectures in JSON."""
    graphs, text = (
        gzip.decompress((GOLDEN / "official" / f"deepnets1m_eval{ending}.gz").read_bytes())
        for ending in (".hdf5", "_meta.json")
    )
    meta = json.loads(text)

    def case(rng: Random, folder: Path) -> str:
        damaged = rng.random() < 0.3
        split = rng.choice(list(meta))
        changed = {**meta, split: changed_tree(meta[split], rng)} if rng.random() < 0.8 else None
        content = changed_json(meta, rng) if changed is None else json.dumps(changed).encode("utf-8", "surrogatepass")
        source = folder / "deepnets1m_eval.hdf5"
        source.write_bytes(changed_bytes(graphs, rng) if damaged else graphs)
        (folder / "deepnets1m_eval_meta.json").write_bytes(text if damaged else content)
        import_file(source, folder / "data")
        for path in (folder / "data").glob("*.hdf5"):
            check_content(path, None)
        return "imported"

    return case


@_format
def records() -> Case:
    """Records and their tables, as the leaderboards check them."""
    record, table = made_up_record()
    datasets = json.loads((LEADERBOARDS / "datasets.json").read_text())

    def case(rng: Random, folder: Path) -> str:
        write_record(folder, record, table)
        path = folder / f"{record['run_id']}.json"
        kind = rng.randrange(3)
        if kind == 0:
            path.write_bytes(changed_json(record, rng))
        elif kind == 1:
            table_path(path).write_bytes(changed_bytes(table_path(path).read_bytes(), rng))
        else:
            table_path(path).write_bytes(gzip.compress(changed_bytes(table, rng)))
        content, rows = read_record(path)
        if find_problems(content, rows, datasets):
            return "refused by check"
        assert rows == table
        assert content["results"] == record["results"]
        return "accepted by check"

    return case


@_format
def results() -> Case:
    """Rows of a run that is continued: damaged ones are measured again, others are as they were."""
    base = tempfile.mkdtemp(prefix="fuzz-base-")
    sound = run_folder(Path(base))
    with sound.open():
        for row in rows_of(PLAN):
            sound.append(row)
    files = {path.name: path.read_bytes() for path in Path(base).iterdir()}
    shutil.rmtree(base)
    rows = [json.loads(line) for line in files["rows.jsonl"].splitlines() if line]

    def case(rng: Random, folder: Path) -> str:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        if rng.random() < 0.5:
            lines = [changed_json(row, rng) if rng.random() < 0.3 else json.dumps(row).encode() for row in rows]
            (folder / "rows.jsonl").write_bytes(b"\n".join(lines))
        else:
            name = rng.choice(list(files))
            (folder / name).write_bytes(changed_bytes(files[name], rng))
        with type(sound)(folder, sound.identity).open() as read:
            for job, row in read.items():
                assert row.job == job
                json.dumps(row.columns(), allow_nan=False)
                assert row.name == f"{job.group}/{job.index}"
        return "all rows" if len(read) == len(rows) else "some rows"

    return case


@_format
def weights() -> Case:
    """Folders of weights: damaged ones must be noticed by their hashes."""
    ghns = {kind: GHN(config) for kind, config in KINDS.items()}
    files, sound = {}, {}
    for kind, ghn in ghns.items():
        with tempfile.TemporaryDirectory() as base:
            checkpoints.save_folder(ghn, Path(base) / kind, {"model": kind, "dataset": "digits"})
            files[kind] = {path.name: path.read_bytes() for path in (Path(base) / kind).iterdir()}
        sound[kind] = {name: value.clone() for name, value in ghn.state_dict().items()}

    def case(rng: Random, folder: Path) -> str:
        kind = rng.choice(list(files))
        for name, content in files[kind].items():
            (folder / name).write_bytes(content)
        name = rng.choice(list(files[kind]))
        (folder / name).write_bytes(
            changed_json(json.loads(files[kind][name]), rng)
            if name == checkpoints.CONFIG and rng.random() < 0.7
            else changed_bytes(files[kind][name], rng)
        )
        loaded = checkpoints.load_folder(folder)
        assert loaded.config == ghns[kind].config
        assert all(torch.equal(value, sound[kind][key]) for key, value in loaded.state_dict().items())
        return "loaded"

    return case


@_format
def pickles() -> Case:
    """Published weights, which are pickles: nothing of them is run, and other weights are not made of them."""
    config = KINDS["ghn2"]
    state = to_published(GHN(config).state_dict(), config)
    content = io.BytesIO()
    torch.save(state, content)
    bases = {"torch": content.getvalue(), "joblib": pickle.dumps(state, protocol=4)}

    def case(rng: Random, folder: Path) -> str:
        kind = rng.choice(list(bases))
        changed = changed_bytes(bases[kind], rng)
        try:
            read = read_state_dict(changed, kind, 2**22)  # type: ignore[arg-type]
            checkpoints.load_state_strict(GHN(config), from_published(read, config), "the file")
        except Exception as error:  # as `conversion.convert`, whose users compare hashes of files
            if is_mistake(error, through=()):
                raise
            return "refused"
        return "read"

    return case


@_format
def configuration() -> Case:
    """Small texts that decide what is run: configurations, architectures, settings, pointers."""
    latest = {
        "folder": "step_0000012", "step": 12, "best": "step_0000004", "best_accuracy": 0.5, "bad_steps": 0,
        "counts": {"non_finite": 0, "out_of_memory": 1, "skipped_steps": 0}, "optimizer_sha256": "0" * 64,
    }  # fmt: skip
    identity = json.loads(json.dumps(run_folder(Path("run")).identity))
    readers: list[tuple[Any, Callable[[Any, Path], object]]] = [
        (KINDS["ghn3"].to_file(), lambda value, _: GHNConfig.from_file(value)),
        (darts().to_dict(), lambda value, _: Architecture.from_dict(value).num_params()),
        (latest, lambda value, _: LatestCheckpoint.from_json(value)),
        (identity, lambda value, folder: _identity_differs(value, identity, folder)),
    ]
    for protocol in PROTOCOLS.values():
        settings = json.loads(json.dumps(asdict(protocol.settings_class())))
        readers.append((settings, partial(_read_settings, protocol)))

    def case(rng: Random, folder: Path) -> str:
        content, read = rng.choice(readers)
        changed = changed_tree(content, rng)
        if not isinstance(changed, dict):
            return "no object"
        read(changed, folder)
        return "read"

    return case


def _read_settings(protocol: Any, value: Any, folder: Path) -> None:
    protocol.read_settings(value)


def _identity_differs(value: Any, expected: Any, folder: Path) -> None:
    (folder / "identity.json").write_bytes(json.dumps(value).encode("utf-8", "surrogatepass"))
    read = read_identity(folder / "identity.json", expected, "run")
    assert {key: read[key] for key in expected} == expected
