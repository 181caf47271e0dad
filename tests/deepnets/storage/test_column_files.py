"""Files of columns: round trips, and every way of being damaged or out of place."""

import contextlib
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepnets.datasets.generation import shard_columns
from deepnets.storage.column_reader import VOCABULARY, ColumnFile, encode_vocabulary, find_damaged_columns
from deepnets.storage.column_writer import merge, new_file, write_columns
from deepnets.storage.network_file import NetworkFile
from deepnets.utils.errors import FileError

DTYPES = st.sampled_from([np.uint8, np.uint16, np.uint32, np.int64, np.float32])


@st.composite
def files(draw: st.DrawFn) -> list[dict[str, np.ndarray]]:
    """Columns of one to three files that can be merged, each for a random number of graphs."""
    names = draw(st.lists(st.text("abcxyz_", min_size=1), min_size=1, max_size=4, unique=True))
    kinds = {f"graphs/{name}": (draw(DTYPES), draw(st.sampled_from([(), (2,), (2, 3)]))) for name in names}
    kinds = {name: kind for name, kind in kinds.items() if not name.endswith("_ptr")}
    result = []
    for _ in range(draw(st.integers(1, 3))):
        lengths = draw(st.lists(st.integers(0, 5), max_size=4))
        pointer = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))])
        columns = {"graphs/node_ptr": pointer, "graphs/edge_ptr": pointer, VOCABULARY: encode_vocabulary(("a", "b"))}
        for name, (dtype, shape) in kinds.items():
            columns[name] = draw(hnp.arrays(dtype, (int(pointer[-1]), *shape)))
        result.append(columns)
    return result


@given(files(), st.integers(0, 2**63 - 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_round_trip_and_merge(
    tmp_path_factory: pytest.TempPathFactory, parts: list[dict[str, np.ndarray]], seed: int, compress: bool
) -> None:
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"{i}.hdf5" for i in range(len(parts))]
    for path, columns in zip(paths, parts, strict=True):
        write_columns(path, "val", seed, "1.0", columns)
        assert_equal(ColumnFile(path), columns)
    content = merge(folder / "whole.hdf5", paths, compress)
    whole = ColumnFile(folder / "whole.hdf5")
    assert whole.header.content_sha256 == content
    assert (whole.header.split, whole.header.seed, whole.vocabulary) == ("val", seed, ("a", "b"))
    assert_equal(whole, concatenated(parts))
    assert find_damaged_columns(whole.path) == []
    # The hash is that of the content: neither the cut nor the compression matters.
    assert write_columns(folder / "direct.hdf5", "val", seed, "2.0", concatenated(parts)) == content


def concatenated(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    ends = np.cumsum([0] + [part["graphs/node_ptr"][-1] for part in parts])
    pointer = np.concatenate(
        [[0], *(part["graphs/node_ptr"][1:] + end for part, end in zip(parts, ends, strict=False))]
    )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return columns | {"graphs/node_ptr": pointer, "graphs/edge_ptr": pointer, VOCABULARY: parts[0][VOCABULARY]}


def assert_equal(file: ColumnFile, columns: dict[str, np.ndarray]) -> None:
    assert set(file.names) == set(columns)
    for name, column in columns.items():
        stored = file.column(name)
        assert stored.dtype == column.dtype
        np.testing.assert_array_equal(stored, column)
        np.testing.assert_array_equal(file.rows(name, 1, 3), column[1:3])


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    path = tmp_path / "val.hdf5"
    write_columns(path, "val", 0, "1.0", shard_columns("val", 0, 0, 5))
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_a_flipped_byte_is_found_in_any_column(networks: Path, compress: bool) -> None:
    path = networks.with_name("copy.hdf5")
    merge(path, [networks], compress)
    with h5py.File(path) as file:
        places = {name: place(file[name]) for name in ColumnFile(path).names}
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for name, (offset, size) in places.items():
        position = offset + int(rng.integers(size))
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ 1 << int(rng.integers(8))]) + whole[position + 1 :]
        )
        assert find_damaged_columns(path) == [name]
    path.write_bytes(whole)
    assert find_damaged_columns(path) == []


def place(dataset: h5py.Dataset) -> tuple[int, int]:
    """Offset and size of a column's bytes in the file, of its first chunk if it is compressed."""
    if dataset.chunks is None:
        return dataset.id.get_offset(), dataset.nbytes
    chunk = dataset.id.get_chunk_info(0)
    return chunk.byte_offset, chunk.size


def test_a_changed_checksum_is_found(networks: Path) -> None:
    with h5py.File(networks, "r+") as file:
        column = file["graphs/op"]
        column[0] = column[0] + 1
        file["graphs/op"].attrs["sha256"] = ""
    assert find_damaged_columns(networks) == ["graphs/op", "content_sha256"]


def set_attribute(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


def test_files_that_cannot_be_read(networks: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        ColumnFile(tmp_path / "none.hdf5")
    with pytest.raises(FileError, match="is a folder"):
        ColumnFile(tmp_path)
    text = tmp_path / "text.hdf5"
    text.write_text("hello")
    with pytest.raises(FileError, match="truncated or not an HDF5 file"):
        ColumnFile(text)
    other = tmp_path / "other.hdf5"
    h5py.File(other, "w").close()
    with pytest.raises(FileError, match="not of the deepnets format"):
        ColumnFile(other)
    for version in (0, "one"):
        set_attribute(networks, "format_version", version)
        with pytest.raises(FileError):
            ColumnFile(networks)
    set_attribute(networks, "format_version", 2)
    with pytest.raises(FileError, match="format version 2; this toolkit reads up to 1: please upgrade"):
        ColumnFile(networks)


@pytest.mark.parametrize("attribute", ["split", "seed", "format_version", "num_networks", "content_sha256"])
def test_missing_attributes(networks: Path, attribute: str) -> None:
    with h5py.File(networks, "r+") as file:
        del file.attrs[attribute]
    with pytest.raises(FileError, match="is damaged: its header cannot be read"):
        ColumnFile(networks)


@pytest.mark.parametrize("column", ["graphs/op", "graphs/node_ptr", "architectures/ks", "vocabulary"])
def test_missing_columns(networks: Path, column: str) -> None:
    with h5py.File(networks, "r+") as file:
        del file[column]
    with pytest.raises(FileError, match=f"lacks the column.*{column}"):
        NetworkFile(networks)


def test_columns_that_do_not_belong_together(networks: Path, tmp_path: Path) -> None:
    columns = dict(shard_columns("val", 0, 0, 5))
    pointer = columns["graphs/node_ptr"].copy()
    pointer[2] = 10**9
    for number, change in enumerate(
        (
            {"graphs/node_ptr": pointer},
            {"graphs/op": columns["graphs/op"][:-1]},
            {"architectures/ks": np.ones(4, np.uint8)},
        )
    ):
        path = tmp_path / f"{number}.hdf5"
        write_columns(path, "val", 0, "1.0", columns | change)
        with pytest.raises(FileError, match="is damaged"):
            NetworkFile(path)


def test_damaged_metadata(networks: Path) -> None:
    """Any flipped bit outside of the columns is one sentence, or harmless."""
    whole = networks.read_bytes()
    data = sorted(place(h5py.File(networks)[name]) for name in ColumnFile(networks).names)
    metadata = [p for p in range(len(whole)) if not any(start <= p < start + size for start, size in data)]
    rng = np.random.default_rng(0)
    for position in rng.choice(metadata, 150, replace=False):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        networks.write_bytes(flipped)
        with contextlib.suppress(FileError):
            NetworkFile(networks)
            find_damaged_columns(networks)


def test_truncated_files(networks: Path) -> None:
    whole = networks.read_bytes()
    for size in (0, 10, 1000, len(whole) // 2, len(whole) - 1):
        networks.write_bytes(whole[:size])
        with pytest.raises(FileError, match="truncated"):
            ColumnFile(networks)


def test_nothing_is_overwritten(networks: Path) -> None:
    before = networks.read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        write_columns(networks, "val", 0, "1.0", shard_columns("val", 0, 0, 1))
    assert networks.read_bytes() == before


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with new_file(tmp_path / "x.hdf5") as file:
            file["a"] = 1
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(FileError, match="not writable"):
        write_columns(tmp_path / "x.hdf5", "val", 0, "1.0", shard_columns("val", 0, 0, 1))


def test_a_damaged_part_is_not_merged(networks: Path) -> None:
    offset, _ = place(h5py.File(networks)["graphs/op"])
    raw = bytearray(networks.read_bytes())
    raw[offset] ^= 1
    networks.write_bytes(raw)
    with pytest.raises(FileError, match="column graphs/op does not match its checksum"):
        merge(networks.with_name("whole.hdf5"), [networks], compress=False)
    assert not networks.with_name("whole.hdf5").exists()


def test_pickled_files_open_again(networks: Path) -> None:
    file = ColumnFile(networks)
    again = pickle.loads(pickle.dumps(file))  # noqa: S301 - as spawned data loader workers do
    np.testing.assert_array_equal(again.column("graphs/op"), file.column("graphs/op"))
