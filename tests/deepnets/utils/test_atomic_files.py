"""Files that are written completely or not at all, and locks between processes."""

import json
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

from deepnets.utils.atomic_files import atomic_write, check_writable, move_into_place, write_json
from deepnets.utils.errors import FileError
from deepnets.utils.file_lock import LockedError, file_lock


@pytest.mark.parametrize("durable", [False, True])
def test_content_is_replaced(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("größer", b"\x00\xff"):
        atomic_write(path, content, durable=durable)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_keeps_the_old_content_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    atomic_write(path, "old")

    def fail(*paths: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def _write_many_times(path: Path, text: str) -> None:
    for _ in range(200):
        atomic_write(path, text)


def test_processes_that_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = {"a" * 10_000, "b" * 20_000}
    writers = [multiprocessing.get_context("fork").Process(target=_write_many_times, args=(path, t)) for t in texts]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen <= texts
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_is_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [1.5]})
    assert path.read_text() == '{\n "b": 1,\n "a": [\n  1.5\n ]\n}\n'
    write_json(path, {"b": 1, "a": 2}, sort_keys=True)
    assert list(json.loads(path.read_text())) == ["a", "b"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"), allow_nan=False)
    assert json.loads(path.read_text()) == {"a": 2, "b": 1}


def test_what_may_be_written(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    check_writable(tmp_path / "new", overwrite=False)
    check_writable(file, overwrite=True)
    with pytest.raises(FileExistsError, match="exists already"):
        check_writable(tmp_path / "new", file, overwrite=False)
    with pytest.raises(FileExistsError, match="is a folder; name a file"):
        check_writable(tmp_path, overwrite=True)


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_overwritten_unasked(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems without hard links too."""

    def fail(*paths: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", fail)
    source, path = tmp_path / "source", tmp_path / "path"
    source.write_text("new")
    path.write_text("old")
    with pytest.raises(FileExistsError, match="nothing is overwritten unasked"):
        move_into_place(source, path)
    assert path.read_text() == "old"
    move_into_place(source, path, overwrite=True)
    move_into_place(path, source)
    assert source.read_text() == "new"
    assert not path.exists()


def _try(path: Path, result: "multiprocessing.Queue[bool]") -> None:
    try:
        with file_lock(path):
            result.put(True)
    except LockedError:
        result.put(False)


def _is_free(path: Path) -> bool:
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    process = context.Process(target=_try, args=(path, result))
    process.start()
    free: bool = result.get(timeout=30)
    process.join()
    return free


@pytest.mark.parametrize("system", ["posix", "other"])
def test_one_process_holds_the_lock(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if system == "other":
        pytest.importorskip("filelock")
        monkeypatch.setitem(sys.modules, "fcntl", None)
    with file_lock(tmp_path / "lock"):
        assert not _is_free(tmp_path / "lock")
    assert _is_free(tmp_path / "lock")


def test_a_system_without_locks_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fcntl", "filelock"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FileError, match="needs the package filelock"), file_lock(tmp_path / "lock"):
        pass
