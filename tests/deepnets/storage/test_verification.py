"""Files with right checksums and wrong content: refused when they are opened or read, and found by verify."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepnets import DeepNets1M, cli
from deepnets.datasets.generation import generate
from deepnets.storage.column_reader import ColumnFile
from deepnets.storage.column_writer import write_columns
from deepnets.storage.network_file import NetworkFile, open_graphs
from deepnets.storage.verification import find_wrong_content
from deepnets.utils.errors import FileError

Columns = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("original") / "x.hdf5", "train", num=30, workers=1)


def read_columns(path: Path) -> Columns:
    file = ColumnFile(path)
    return {name: file.column(name).copy() for name in file.names}


def with_value(name: str, index: int, value: int) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name].reshape(-1)[index] = value

    return change


def with_type(name: str, dtype: str) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name] = columns[name].astype(dtype)

    return change


def swapped_ends(columns: Columns) -> None:
    columns["graphs/edge_src"], columns["graphs/edge_dst"] = columns["graphs/edge_dst"], columns["graphs/edge_src"]


def swapped_edges(columns: Columns) -> None:
    for name in ("edge_src", "edge_dst"):
        columns[f"graphs/{name}"][[5, 9]] = columns[f"graphs/{name}"][[9, 5]]


def other_architectures(columns: Columns) -> None:
    for name in columns:
        if name.startswith("architectures/"):
            columns[name] = columns[name][::-1]


def double_name(columns: Columns) -> None:
    names = bytes(columns["vocabulary"]).split(b"\n")
    columns["vocabulary"] = np.frombuffer(b"\n".join([names[0]] * len(names)), np.uint8)


def flat_pointers(columns: Columns) -> None:
    columns["graphs/node_ptr"] = columns["graphs/node_ptr"].reshape(-1, 1)


CHANGES = {
    "pointers go back": with_value("graphs/node_ptr", 5, 1),
    "negative pointer": with_value("graphs/node_ptr", 5, -7),
    "huge pointer": with_value("graphs/node_ptr", 30, 2**62),
    "unsigned pointers": with_type("graphs/node_ptr", "uint64"),
    "pointers of fractions": with_type("graphs/node_ptr", "float64"),
    "pointers in rows": flat_pointers,
    "edge to nowhere": with_value("graphs/edge_dst", 3, 60000),
    "edges back": swapped_ends,
    "edges out of order": swapped_edges,
    "edges of fractions": with_type("graphs/edge_src", "float32"),
    "signed edges": with_type("graphs/edge_src", "int64"),
    "unknown primitive": with_value("graphs/op", 3, 15),
    "primitive 200": with_value("graphs/op", 3, 200),
    "another primitive": with_value("graphs/op", 3, 0),
    "unknown name": with_value("graphs/name", 3, 65535),
    "another name": with_value("graphs/name", 3, 0),
    "unknown cell": with_value("graphs/cell", 3, 255),
    "names twice": double_name,
    "other architectures": other_architectures,
    "numbers of fractions": with_type("architectures/ks", "float64"),
    "wide flags": with_type("architectures/bn", "uint16"),
    "another count": with_value("architectures/num_params_32", 4, 0),
    "another width": with_value("architectures/channels_224", 4, 48),
    "another network": with_value("architectures/fc_dim", 4, 999),
} | {
    f"{name} {value}": with_value(f"architectures/{name}", 0, value)
    for name, value in [
        *(("ks", 0), ("ks", 255), ("n_cells", 0), ("stem_type", 9), ("C_mult", 0), ("C_mult", 255), ("fc_layers", 0)),
        *(("fc_dim", 0), ("channels_32", 0), ("channels_224", 1), ("bn", 2), ("preproc", 255), ("glob_avg", 7)),
        *(("ops", 200), ("ops", 255), ("inputs", 200), ("concat", 0), ("concat", 65535)),
    ]
}


@pytest.mark.parametrize("name", CHANGES)
def test_wrong_content(name: str, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = read_columns(original)
    CHANGES[name](columns)
    path = tmp_path / "x.hdf5"
    write_columns(path, "train", 0, "0.1.0", columns)
    for options in ([], ["--all"]):
        assert cli.main(["verify", str(path), *options]) in (1, 2)
        out, err = capsys.readouterr()
        assert not out
        assert err.count("\n") <= 4
        assert "Traceback" not in err
    with contextlib.suppress(FileError):  # some content is wrong, but not impossible; nothing else may be raised
        file = NetworkFile(path)
        for index in range(len(file)):
            file.graph(index)
            file.architecture(index)
        file.read(np.arange(len(file)))


def test_data_sets_can_be_verified_when_they_are_opened(tmp_path: Path) -> None:
    path = generate(tmp_path / "deepnets1m_train.hdf5", "train", num=5, workers=1)
    assert len(DeepNets1M(tmp_path, "train", num=5, verify=True)) == 5
    columns = read_columns(path)
    CHANGES["another width"](columns)
    write_columns(path, "train", 0, "0.1.0", columns, overwrite=True)
    assert len(DeepNets1M(tmp_path, "train", num=5)) == 5
    with pytest.raises(FileError, match="the width of network 4 for image size 224 is not 32"):
        DeepNets1M(tmp_path, "train", num=5, verify=True)


def test_right_content_passes(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_wrong_content(original) == find_wrong_content(original, 7) == []
    assert cli.main(["verify", str(original), "--all"]) == 0
    out = capsys.readouterr().out
    assert "columns match" in out
    assert "its networks are the first 30 of train with seed 0" in out


def changed(original: Path, path: Path, change: Callable[[h5py.File], object]) -> Path:
    path.write_bytes(original.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replaced(name: str, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        checksum = file[name].attrs["sha256"]
        del file[name]
        file.create_dataset(name, **options).attrs["sha256"] = checksum

    return change


def linked(link: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["graphs/op"]
        file["graphs/op"] = link

    return change


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((30,), np.uint8)
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (30,))
    file.create_virtual_dataset("y", layout).attrs["sha256"] = np.bytes_("0" * 64)


def many(file: h5py.File) -> None:
    for number in range(300):
        file.create_dataset(f"m/{number}", data=np.zeros(1, np.uint8)).attrs["sha256"] = np.bytes_("0" * 64)


HUGE = {"shape": (2**40,), "dtype": np.uint8}


@pytest.mark.parametrize(
    "change",
    [
        linked(h5py.ExternalLink("other.hdf5", "graphs/op")),
        linked(h5py.SoftLink("/graphs/cell")),
        replaced("graphs/op", shape=(30,), dtype=np.uint8, external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]),
        replaced("graphs/op", **HUGE, chunks=(1 << 20,), compression="gzip"),
        replaced("graphs/op", **HUGE),
        replaced("vocabulary", shape=(2**34,), dtype=np.uint8, chunks=(1 << 20,), compression="gzip"),
        replaced("graphs/cell", data=np.zeros(3, "S3")),
        replaced("graphs/cell", data=np.zeros((5, 0), np.uint8)),
        virtual,
        many,
        lambda file: file.create_group("a/b"),
        *(
            lambda file, value=value: file.attrs.update(num_networks=value)
            for value in (np.inf, np.arange(4), 2**62, 0, "x")
        ),
        lambda file: file.attrs.update(format_version=1.9),
        lambda file: file.attrs.update(seed=np.nan),
        lambda file: file["vocabulary"].attrs.update(sha256=5),
    ],
)
def test_files_that_are_refused(
    change: Callable[[h5py.File], object], original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(original, tmp_path / "x.hdf5", change)
    with pytest.raises(FileError, match=r"x\.hdf5"):
        open_graphs(path)
    assert cli.main(["verify", str(path)]) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_texts_of_files_do_not_steer_terminals_or_paths(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = read_columns(original)
    write_columns(tmp_path / "a.hdf5", "../../\x1b[31mx\n", 0, "\x1b]0;title\x07" + "A" * 1000, columns)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert cli.main(["info", str(tmp_path / "a.hdf5")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"../../\x1b[31mx\n" in out
    assert cli.main(["plot", str(tmp_path / "a.hdf5"), "--index", "0"]) == 0
    assert [path.name for path in Path.cwd().iterdir()] == ["________31mx__0.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "deep"]
    assert "\x1b" not in capsys.readouterr().out
