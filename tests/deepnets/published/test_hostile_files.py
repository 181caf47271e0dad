"""Published files that were made to harm: one sentence each, before anything large is read or built."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepnets.published.importer import import_file
from deepnets.utils.errors import FileError

SOURCE = "deepnets1m_eval.hdf5"


def refused(folder: Path, message: str) -> None:
    with pytest.raises(FileError, match=message) as caught:
        import_file(folder / SOURCE, folder / "data")
    assert len(str(caught.value)) < 1000
    assert not list((folder / "data").glob("*.hdf5"))


def with_member(**members: Any) -> Callable[[dict[str, Any]], None]:
    def change(split: dict[str, Any]) -> None:
        split["meta"] |= members

    return change


def with_net(net: object) -> Callable[[dict[str, Any]], None]:
    def change(split: dict[str, Any]) -> None:
        split["nets"][0] = net

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_member(primitives_ext=[1]), "primitives_ext is not an object of texts"),
        (with_member(primitives_ext={"0": None}), "primitives_ext has a value that is not a text"),
        (with_member(primitives_ext={"x": "conv"}), "has a name that is not a number"),
        (with_member(primitives_ext={"0": "conv" + "_1x1" * 100_000 + "!"}), "at most 200 characters"),
        (with_member(unique_op_names={"1": "A" * 10_000_000}), "at most 200 characters"),
        (with_member(unique_op_names={"1": 7}), "unique_op_names has a value that is not a text"),
        (lambda split: split.update(meta=[]), "primitives_ext is not an object"),
        (lambda split: split.update(nets={"a": 1}), "nets is not a list"),
        (lambda split: split.update(nets=5), "nets is not a list"),
        (with_net(5), "it is not an object"),
        (with_net(None), "it is not an object"),
    ],
)
def test_metadata_of_other_types(change: Callable[[dict[str, Any]], None], message: str, samples: Path) -> None:
    path = samples / "deepnets1m_eval_meta.json"
    content = json.loads(path.read_text())
    change(content["val"])
    path.write_text(json.dumps(content))
    refused(samples, message)


def test_metadata_of_other_form(samples: Path) -> None:
    path = samples / "deepnets1m_eval_meta.json"
    text = path.read_text()
    for broken, message in (
        ('{"val": {"nets": [' + "[" * 200_000, "nested too deeply"),
        ('{"val": ' + '{"a":' * 200_000, "nested too deeply|is not a metadata file"),
        (text + "more", "text follows the JSON object"),
        (text.replace('"nets":', '"nets": [], "nets":', 1), "nets twice"),
        (text[:-1] + ", " + text[1:], "is there twice"),
        (text.replace("{", '{5: "a", ', 1), "is not a metadata file"),
    ):
        path.write_text(broken)
        refused(samples, message)
    path.write_bytes(b"\xff" + text.encode())
    refused(samples, "deepnets1m_eval_meta.json is not a metadata file")


def dataset(name: str, **options: Any) -> Callable[[h5py.Group], None]:
    def change(graph: h5py.Group) -> None:
        del graph[name]
        graph.create_dataset(name, **options)

    return change


def both_empty(graph: h5py.Group) -> None:
    dataset("adj", data=np.zeros((0, 0), np.uint8))(graph)
    dataset("nodes", data=np.zeros((0, 3), np.uint16))(graph)


def huge(graph: h5py.Group) -> None:
    dataset("adj", shape=(60_000, 60_000), dtype=np.uint8, chunks=(1000, 1000), compression="gzip")(graph)
    dataset("nodes", shape=(60_000, 3), dtype=np.uint16, chunks=(1000, 3), compression="gzip")(graph)


def linked(graph: h5py.Group) -> None:
    del graph["adj"]
    graph["adj"] = h5py.ExternalLink("other.hdf5", "adj")


def unknown_number(graph: h5py.Group) -> None:
    graph["nodes"][0, 0] = 60_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dataset("adj", data="text"), "adj is "),
        (dataset("nodes", data=7), "nodes "),
        (dataset("adj", shape=(2**20, 2**20), dtype=np.uint8, chunks=(1024, 1024), compression="gzip"), "adj is "),
        (dataset("nodes", shape=(2**33, 3), dtype=np.uint16, chunks=(2**16, 3), compression="gzip"), "nodes "),
        (huge, "it has 60000 nodes, which cannot be"),
        (both_empty, r"adj is \(0, 0\)"),
        (linked, "adj is a link"),
        (unknown_number, "60000"),
        (lambda graph: graph.__delitem__("adj"), "lacks adj"),
    ],
)
def test_graphs_that_cannot_be(change: Callable[[h5py.Group], None], message: str, samples: Path) -> None:
    with h5py.File(samples / SOURCE, "r+") as file:
        change(file["val/0"])
    refused(samples, f"graph 0 of val cannot be read .*{message}")


def test_splits_that_are_elsewhere(samples: Path) -> None:
    with h5py.File(samples / SOURCE, "r+") as file:
        count = len(file["val"])
        del file["val"]
        file["val"] = h5py.ExternalLink("other.hdf5", "val")
    refused(samples, "val")
    with h5py.File(samples / SOURCE, "r+") as file:
        del file["val"]
        file["val"] = np.zeros(count)
    refused(samples, "val is not a group")


def test_reports_of_an_earlier_run_are_checked(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepnets.storage.sharded_file import ShardedFile

    monkeypatch.setattr(ShardedFile, "assemble", lambda self: os.kill(0, "no"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        import_file(samples / SOURCE, samples / "data")
    monkeypatch.undo()
    manifest = samples / "data" / "deepnets1m_val.hdf5.partial" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"networks": 4', '"networks": "4"'))
    refused(samples, "manifest.jsonl is damaged")
