"""A mistake in the program shows where it is, with exit code 1; it is neither bad input nor a failed network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_RUN = ("benchmarks.run", "--model", "randinit", "--split", "bnfree", "--num", "1", "--protocol", "no_finetune")
_NAS = ("benchmarks.run", "--model", "nwot", "--split", "nasbench201", "--num", "3", "--protocol", "nas")


def _with_typo(folder: Path, file: str, right: str, wrong: str) -> Path:
    """Copy the package of a file with one change, and link the others."""
    changed = file.split("/")[0]
    for package in ("deepnets", "ghn_models", "benchmarks"):
        if package == changed:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / package).symlink_to(ROOT / package)
    text = (folder / file).read_text()
    assert text.count(right) == 1
    (folder / file).write_text(text.replace(right, wrong))
    return folder


@pytest.mark.parametrize(
    ("file", "right", "wrong", "command"),
    [
        pytest.param(
            "benchmarks/protocols/no_finetune.py", "topk_accuracy(case.model,", "topk_accuracy(case.modle,", _RUN,
            id="protocol", marks=pytest.mark.slow,
        ),
        pytest.param(
            "benchmarks/scoring/zero_cost_proxies.py", "kernels.append(on @ on.T", "kernels.append(no @ on.T", _NAS,
            id="proxy", marks=pytest.mark.slow,
        ),
        pytest.param(
            "deepnets/storage/column_reader.py", "self.path = Path(path)", "self.path = Path(paht)",
            ("deepnets.cli", "info", "a.hdf5"), id="reader",
        ),
    ],
)  # fmt: skip
def test_a_typo_shows_where_it_is(tmp_path: Path, file: str, right: str, wrong: str, command: tuple[str, ...]) -> None:
    folder = _with_typo(tmp_path, file, right, wrong)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f'{file}", line ' in done.stderr
    assert wrong in done.stderr  # the line
