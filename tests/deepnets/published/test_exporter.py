"""Export to the published file format, and round trips."""

from pathlib import Path

import pytest

from deepnets.datasets.generation import generate
from deepnets.published import exporter
from deepnets.published.exporter import export_files
from deepnets.published.importer import import_file
from deepnets.storage.column_reader import ColumnFile
from deepnets.utils.errors import FileError
from tests.support.command import assert_refused, run
from tests.support.raising import raising


@pytest.mark.parametrize("splits", [("train",), ("val", "wide", "dense")])
def test_round_trip(tmp_path: Path, splits: tuple[str, ...]) -> None:
    sources = [generate(tmp_path / f"deepnets1m_{split}.hdf5", split, num=25, workers=1) for split in splits]
    export_files(sources, tmp_path / "published.hdf5")
    reports = import_file(tmp_path / "published.hdf5", tmp_path / "again")
    assert all((report.networks, report.equal, report.wrong_params) == (25, 25, 0) for report in reports)
    for source in sources:
        again = ColumnFile(tmp_path / "again" / source.name)
        assert again.header.content_sha256 == ColumnFile(source).header.content_sha256


def test_export_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = generate(tmp_path / "x.hdf5", "val", num=3, workers=1)
    assert run(capsys, "export", source, "--out", tmp_path / "deepnets1m_eval.hdf5")[0] == 0
    again = run(capsys, "export", source, "--out", tmp_path / "deepnets1m_eval.hdf5")
    assert_refused((again[0], again[1], again[2].splitlines()[-1] + "\n"), "exists already")
    with pytest.raises(FileError, match="several files hold the same split"):
        export_files([source, source], tmp_path / "y.hdf5")


def test_an_export_that_is_killed_leaves_no_graphs_without_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = generate(tmp_path / "x.hdf5", "val", num=3, workers=1)
    monkeypatch.setattr(exporter, "move_into_place", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export_files([source], tmp_path / "y.hdf5")
    assert [path.name for path in tmp_path.iterdir()] == ["x.hdf5"]
