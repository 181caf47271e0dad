"""How commands end."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from deepnets.utils.atomic_files import FileError
from deepnets.utils.cli_errors import exit_code


def fails(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FileError("a is truncated"), 2, "error: a is truncated\n"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, "error: a.csv: No such file\n"),
        (OSError("no network"), 2, "error: no network\n"),
        (BrokenPipeError(32, "Broken pipe"), 2, "error: [Errno 32] Broken pipe\n"),  # that of something else
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept\n"),
        (SystemExit(2), 2, ""),
        (SystemExit(), 0, ""),
        (SystemExit("give a file"), 2, "give a file\n"),
    ],
)
def test_what_ends_a_command(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(fails(error)) == code
    out, err = capsys.readouterr()
    assert (out.strip(), err) == ("", said)


def test_success_and_bugs() -> None:
    assert exit_code(lambda: 0) == 0
    assert exit_code(lambda: 1) == 1
    with pytest.raises(TypeError):  # a bug shows where it is
        exit_code(fails(TypeError()))


@pytest.mark.parametrize("module", ["deepnets.cli", "benchmarks.run"])
def test_help_that_nobody_reads(module: str) -> None:
    """As in `--help | true`: no traceback, neither while it is printed nor when Python exits."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-m", module, "--help"], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert done.returncode == 141
    assert "Error" not in done.stderr
