"""Import of the published file format: samples of the reference code, defects, interruptions, and bad input."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepnets.datasets.generation import generate
from deepnets.published import importer, metadata
from deepnets.published.importer import ImportReport, import_file
from deepnets.storage import sharded_file
from deepnets.storage.column_reader import ColumnFile
from deepnets.storage.network_file import NetworkFile
from deepnets.storage.sharded_file import ShardedFile
from deepnets.utils.errors import FileError
from tests.support.command import assert_refused, run
from tests.support.raising import raising


def test_samples_equal_the_symbolic_graphs(samples: Path) -> None:
    reports = import_file(samples / "deepnets1m_eval.hdf5", samples / "data")
    assert {report.split for report in reports} == {"val", "test", "wide", "deep", "dense", "bnfree"}
    assert all((report.networks, report.equal, report.wrong_params) == (4, 4, 0) for report in reports)
    wide = NetworkFile(samples / "data" / "deepnets1m_wide.hdf5")
    assert wide.architecture(0).num_params() > 30_000_000  # the evaluation width was not recorded, so it was computed
    assert "imported from deepnets1m_eval.hdf5" in wide.header.toolkit_version


def test_misaligned_rows_are_noticed(samples: Path) -> None:
    (report,) = import_file(samples / "deepnets1m_train.hdf5", samples / "data")
    assert (report.networks, report.misaligned, report.equal) == (6, 6, 0)


def test_interrupted_imports_go_on(
    samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = samples / "deepnets1m_eval.hdf5", samples / "data"
    whole = import_file(source, samples / "whole")
    for module in (importer, metadata):
        monkeypatch.setattr(module, "BLOCK", 2)  # two shards of each of the six splits
    compare = importer._compare_block
    compared: list[Any] = []

    def stopping(*args: Any) -> ImportReport:
        if len(compared) == 7:
            raise KeyboardInterrupt
        compared.append(args)
        return compare(*args)

    monkeypatch.setattr(importer, "_compare_block", stopping)
    assert run(capsys, "import", source, "--root", folder)[0] == 130
    assert not list(folder.glob("*.hdf5"))  # no file before all of them are complete

    def counting(*args: Any) -> ImportReport:
        compared.append(args)
        return compare(*args)

    monkeypatch.setattr(importer, "_compare_block", counting)
    assert import_file(source, folder) == whole
    assert len(compared) == 12
    assert {path.name for path in folder.iterdir()} == {path.name for path in (samples / "whole").iterdir()}
    for path in folder.iterdir():
        assert ColumnFile(path).header == ColumnFile(samples / "whole" / path.name).header


@pytest.mark.parametrize(
    ("step", "times", "named"), [("merge", 1, 0), ("move_into_place", 0, 0), ("move_into_place", 1, 1)]
)
def test_imports_that_stop_at_the_end_go_on(
    samples: Path, monkeypatch: pytest.MonkeyPatch, step: str, times: int, named: int
) -> None:
    source, folder = samples / "deepnets1m_eval.hdf5", samples / "data"
    whole = import_file(source, samples / "whole")
    real = getattr(sharded_file, step)
    done: list[Any] = []

    def stopping(*args: Any) -> None:
        if len(done) == times:
            raise KeyboardInterrupt
        done.append(args)
        real(*args)

    monkeypatch.setattr(sharded_file, step, stopping)
    with pytest.raises(KeyboardInterrupt):
        import_file(source, folder)
    assert len(list(folder.glob("*.hdf5"))) == named
    monkeypatch.undo()
    assert import_file(source, folder) == whole
    assert {path.name for path in folder.iterdir()} == {path.name for path in (samples / "whole").iterdir()}
    with pytest.raises(FileExistsError):
        import_file(source, folder)


def test_a_damaged_shard_holds_back_all_files_of_an_import(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = samples / "deepnets1m_eval.hdf5", samples / "data"
    monkeypatch.setattr(sharded_file, "merge", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        import_file(source, folder)
    monkeypatch.undo()
    (shard,) = (folder / "deepnets1m_wide.hdf5.partial").glob("0*.hdf5")
    with h5py.File(shard, "r+") as file:
        file["graphs/op"][0] ^= 1
    with pytest.raises(FileError, match="does not match its checksum; give the same command again"):
        import_file(source, folder)
    assert not list(folder.glob("*.hdf5"))
    assert len(import_file(source, folder)) == 6


def test_a_refused_import_keeps_what_another_began(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = samples / "deepnets1m_train.hdf5", samples / "data" / "deepnets1m_train.hdf5"
    generate(path, "train", num=6, workers=1)  # equal to the file of the import in split, number and seed
    monkeypatch.setattr(sharded_file, "merge", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        import_file(source, path.parent, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(FileExistsError):
        import_file(source, path.parent)
    assert len(list((samples / "data" / "deepnets1m_train.hdf5.partial").glob("0*.hdf5"))) == 1
    monkeypatch.setattr(importer, "_compare_block", raising(AssertionError))  # nothing is compared again
    assert import_file(source, path.parent, overwrite=True)[0].networks == 6
    assert "imported" in ColumnFile(path).header.toolkit_version


def test_an_import_does_not_replace_its_source(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = samples / "deepnets1m_train.hdf5"
    content = source.read_bytes()
    for options in ((), ("--overwrite",)):
        assert_refused(run(capsys, "import", source, "--root", samples, *options), "would be overwritten with its own")
    assert source.read_bytes() == content


def test_an_import_of_another_file_is_not_continued(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = samples / "deepnets1m_train.hdf5", samples / "data"
    monkeypatch.setattr(ShardedFile, "publish", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        import_file(source, folder)
    monkeypatch.undo()
    with h5py.File(source, "r+") as file:
        file.attrs["note"] = "another one"
    with pytest.raises(FileError, match=r"unfinished run with source='deepnets1m_train\.hdf5, \d+ bytes"):
        import_file(source, folder)
    assert import_file(source, folder, overwrite=True)[0].networks == 6


def test_known_defects_are_repaired_and_others_reported(samples: Path) -> None:
    source = samples / "deepnets1m_eval.hdf5"
    meta = json.loads((samples / "deepnets1m_eval_meta.json").read_text())["test"]["meta"]["unique_op_names"]
    with h5py.File(source, "r+") as file:
        for index in range(4):
            adjacency, nodes = (file[f"test/{index}/{name}"][()] for name in ("adj", "nodes"))
            names = [meta[str(name)] for name in nodes[:, 2]]
            if index in (1, 2):  # networks with an ImageNet-style stem: cell 1 reads stem0 instead of stem1
                stem0, stem1 = names.index("stem0.4.weight"), names.index("stem1.2.weight")
                moved = [v for v in np.flatnonzero(adjacency[stem1] == 1) if nodes[v, 1] == 1]
                assert moved
                adjacency[stem1, moved], adjacency[stem0, moved] = 0, 1
                norms = [v for v, name in enumerate(names) if name.endswith("op.2.weight") and adjacency[v - 1, v] != 1]
                adjacency[[v - 1 for v in norms], norms] = 1  # a norm layer that reads a second tensor
            else:  # one edge too few
                adjacency[0, np.flatnonzero(adjacency[0] == 1)[0]] = 2
            file[f"test/{index}/adj"][...] = adjacency
    report = next(r for r in import_file(source, samples / "data") if r.split == "test")
    assert (report.equal, report.repaired, report.different) == (0, 2, 2)
    assert all("edges are recorded" in example for example in report.examples)


def test_bad_input(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, metadata = samples / "deepnets1m_eval.hdf5", samples / "deepnets1m_eval_meta.json"
    whole, text = source.read_bytes(), metadata.read_text()
    root = ("--root", samples / "data")

    def refused(message: str) -> None:
        assert_refused(run(capsys, "import", source, *root), message)
        assert not (samples / "data").exists() or not list((samples / "data").iterdir())

    metadata.unlink()
    refused("needs the metadata file deepnets1m_eval_meta.json")
    for broken in ("[]", "{}", text[:5000], '{"val": 3}', '{"val": {"nets": []}}'):
        metadata.write_text(broken)
        refused("is not a metadata file of DeepNets-1M")
    for broken in ("", '{"val": '):
        metadata.write_text(broken)
        refused("is truncated, or empty")
    fewer = json.loads(text)
    fewer["val"]["nets"].pop()
    metadata.write_text(json.dumps(fewer))
    refused("has 4 graphs of val, its metadata 3")
    metadata.write_text(text.replace('"bnfree"', '"strange"'))
    refused("cannot be imported: there is no split 'strange'")
    metadata.write_text(text)
    source.write_bytes(whole[: len(whole) // 2])
    refused("truncated or not an HDF5 file")
    source.unlink()
    refused("does not exist")
    source.write_bytes(whole)
    assert_refused(run(capsys, "import", *root), "name either a file or, with --hub")
    import_file(source, samples / "data")
    capsys.readouterr()
    assert_refused(run(capsys, "import", source, *root), "exists already")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"C": 70_000}, "channels is 70000; accepted: a multiple of 8"),
        ({"C": 48.7}, "C is 48.7; accepted: an integer"),
        ({"C": -1}, "channels is -1"),
        ({"C": None}, "C is None"),
        ({"num_params": [1]}, r"num_params is \[1\]; accepted: numbers by data set"),
        ({"num_params": None}, "num_params is None"),
        ({"C": 32}, "some have the width C, others have none"),
    ],
)
def test_bad_networks_of_the_metadata(samples: Path, change: dict[str, Any], message: str) -> None:
    metadata = samples / "deepnets1m_eval_meta.json"
    content = json.loads(metadata.read_text())
    content["val"]["nets"][1] |= change
    metadata.write_text(json.dumps(content))
    with pytest.raises(FileError, match=f"architecture that cannot be read: {message}"):
        import_file(samples / "deepnets1m_eval.hdf5", samples / "data")
    assert not list((samples / "data").glob("*.hdf5"))


def test_recorded_widths_that_cannot_be(samples: Path) -> None:
    metadata = samples / "deepnets1m_eval_meta.json"
    content = json.loads(metadata.read_text())
    for net in content["wide"]["nets"]:
        net["C"] = 32_768  # networks for 32x32 images have four times as many
    metadata.write_text(json.dumps(content))
    with pytest.raises(FileError, match="channels is 131072; accepted: a multiple of 8"):
        import_file(samples / "deepnets1m_eval.hdf5", samples / "data")
