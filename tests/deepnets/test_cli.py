"""The command line: what it prints, and one sentence with exit code 2 for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.support.command import assert_refused, run


@pytest.fixture
def file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    code, out, _ = run(capsys, "generate", "--split", "val", "--num", 12, "--root", tmp_path, "--workers", 1)
    assert code == 0
    assert "12 networks" in out
    return tmp_path / "deepnets1m_val.hdf5"


def test_info_and_verify(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info", file)
    assert code == 0
    assert "graphs/edge_src" in out
    code, out, _ = run(capsys, "verify", file)
    assert code == 0
    assert "columns match" in out
    with h5py.File(file, "r+") as opened:
        column = opened["graphs/name"]
        column[0] = column[0] ^ 1
    code, _, err = run(capsys, "verify", file)
    assert code == 1
    assert err == f"{file}: graphs/name does not match its checksum\n"
    assert_refused(run(capsys, "stats", file, "--out", tmp_path / "s"), "is damaged: graphs/name")
    published = tmp_path / "published" / "eval.hdf5"
    assert_refused(run(capsys, "export", file, "--out", published), "is damaged: graphs/name")
    assert not (tmp_path / "s").exists()
    assert not published.parent.exists()


def test_plot(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "graph.png"
    assert run(capsys, "plot", file, "--index", 3, "--out", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert_refused(run(capsys, "plot", file, "--index", 3, "--out", picture), "exists already")
    assert_refused(run(capsys, "plot", file, "--index", 12, "--out", "x.png"), "index 12 is out of range")
    assert_refused(run(capsys, "plot", file, "--index", 1, "--out", tmp_path / "x.bmp"), "bmp")


def test_stats(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_folder = tmp_path / "stats"
    code, out, _ = run(capsys, "stats", file, "--out", out_folder, "--plot")
    assert code == 0
    assert "val" in out
    assert (out_folder / "table_1.txt").read_text().strip() in out
    assert "val" in json.loads((out_folder / "table_1.json").read_text())
    assert (out_folder / "figure_6.png").stat().st_size > 10_000
    assert_refused(run(capsys, "stats", file, "--out", out_folder), "exists already")
    assert_refused(run(capsys, "stats", file, file, "--out", tmp_path / "s2"), "the same split")


def test_bad_input_is_one_sentence(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate = ("generate", "--root", tmp_path, "--split")
    for arguments, message in (
        ((*generate, "foo"), "there is no split 'foo'; accepted: train, val, test"),
        ((*generate, "val"), "exists already; name another path or ask to overwrite it (--overwrite)"),
        ((*generate, "test", "--num", 0), "num is 0; it must be 1 or more"),
        ((*generate, "test", "--num", -5), "num is -5; it must be 1 or more"),
        ((*generate, "test", "--workers", 0), "workers is 0"),
        (("generate", "--split", "val", "--root", file), "cannot write"),
        (("info", tmp_path / "none.hdf5"), "does not exist"),
        (("verify", tmp_path), "is a folder"),
        (("plot", tmp_path / "none.hdf5", "--index", 0), "does not exist"),
        (("plot", file, "--index", 0, "--out", tmp_path / "no" / "a.png"), "there is no folder"),
    ):
        assert_refused(run(capsys, *arguments), message)
    file.write_bytes(file.read_bytes()[:-100])
    assert_refused(run(capsys, "verify", file), "truncated")


def test_unreadable_options_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "generate", "--split", "val", "--num", "many")[0] == 2
    assert run(capsys, "frobnicate")[0] == 2


def test_help_is_quick_and_generation_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from deepnets.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'torch_geometric', 'matplotlib', 'pandas', 'scipy', 'networkx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    arguments = ["generate", "--split", "val", "--num", "5", "--workers", "1", "--root", str(tmp_path)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    help_code = "import sys; import deepnets.cli; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", help_code], check=True)
