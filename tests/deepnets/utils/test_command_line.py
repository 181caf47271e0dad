"""--version, and how commands end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import deepnets
from deepnets.cli import main
from deepnets.utils.command_line import command_line, run_command, sigterm_interrupts
from deepnets.utils.errors import FileError


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    arguments = ["trace", "~/m.py:make", "--root", "~/data", "--out=~", "--nas.truth=~/t.csv", "a~b", "--name=a=~"]
    home = ["trace", "/home/a/m.py:make", "--root", "/home/a/data", "--out=/home/a", "--nas.truth=/home/a/t.csv"]
    assert command_line(arguments) == [*home, "a~b", "--name=a=~"]


@pytest.mark.parametrize("redirect", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(redirect: str, tmp_path: Path) -> None:
    """The file is complete, and no output went into it."""
    command = f"{sys.executable} -m deepnets.cli generate --split val --num 5 --workers 2 --root {tmp_path} {redirect}"
    assert subprocess.run(command, shell=True, check=False).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["deepnets1m_val.hdf5"]
    assert main(["verify", str(tmp_path / "deepnets1m_val.hdf5")]) == 0


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
    assert run_command(fails(error)) == code
    out, err = capsys.readouterr()
    assert (out.strip(), err) == ("", said)


@pytest.mark.parametrize("error", [FileError("a is truncated"), FileNotFoundError(2, "No such file", "a.csv")])
def test_tracebacks_on_request(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, shown in (("1", True), ("0", False)):
        monkeypatch.setenv("DEEPNETS_DEBUG", value)
        assert run_command(fails(error)) == 2
        err = capsys.readouterr().err
        assert ("in command" in err) == shown
        assert err.splitlines()[-1].startswith("error: a")


def test_texts_of_files_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(fails(FileError("split \x1b[31m\x07 is unknown"))) == 2
    assert capsys.readouterr().err == "error: split \\x1b[31m\\x07 is unknown\n"


def test_success_and_bugs() -> None:
    assert run_command(lambda: 0) == 0
    assert run_command(lambda: 1) == 1
    for mistake in (TypeError(), KeyError(), ValueError("operands could not be broadcast"), AssertionError()):
        with pytest.raises(type(mistake)):  # it shows where it is
            run_command(fails(mistake))


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


@pytest.mark.parametrize("module", ["deepnets.cli", "ghn_models.train", "ghn_models.convert", "benchmarks.leaderboard"])
def test_version(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"deepnets {deepnets.__version__}\n", "")


def test_a_terminated_command_is_interrupted_and_the_handler_is_restored(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    with sigterm_interrupts():
        assert run_command(command, []) == 130
    assert capsys.readouterr().err == "interrupted; what was finished is kept\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_can_run_in_any_thread() -> None:
    """Only the main thread may change what signals do."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["--version"]).result() == 0
