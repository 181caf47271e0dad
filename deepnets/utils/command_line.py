"""Frame of every command: --version, exit codes, and one sentence instead of a traceback."""

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import deepnets
from deepnets.utils.errors import InputError

_BAD_INPUT = 2
_INTERRUPTED = 130  # as shells count: 128 and the number of the signal
_NO_READER = 141
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # texts of files must not steer the terminal


def command_line(arguments: Sequence[str] | None = None) -> list[str]:
    """Return the arguments of a command, by default those of this process, with ~ as the home folder.

    Shells expand ~ at the beginning of an argument only, not in --root=~/data.

    >>> command_line(["generate", "--root=/data"])
    ['generate', '--root=/data']
    """
    result = []
    for argument in sys.argv[1:] if arguments is None else arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        result.append(f"{option}{equals}{os.path.expanduser(value)}")
    return result


def run_command(command: Callable[[], int], arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    `--version` as the first argument prints the version of the toolkit and runs nothing. InputError and OSError stand
    for bad input and unusable files: one sentence on standard error, and 2; the traceback comes first where the
    environment has DEEPNETS_DEBUG=1. Other errors are mistakes in the program, and are raised: Python prints the
    traceback and ends with 1. An interrupted command returns 130. If the reader of the output has left, as in
    `... | head`, the command ends silently with 141.

    Args:
        command: parses its options, works, and returns its exit code; it may exit as parsers do.
        arguments: the command line, by default that of this process.
    """
    options = sys.argv[1:] if arguments is None else arguments
    _open_standard_streams()
    sentence, broken = "", False
    try:
        code = _print_version() if options[:1] == ["--version"] else command()
    except SystemExit as stop:
        is_number = stop.code is None or isinstance(stop.code, int)
        code, sentence = (int(stop.code or 0), "") if is_number else (_BAD_INPUT, str(stop.code))
    except KeyboardInterrupt:
        code, sentence = _INTERRUPTED, "interrupted; what was finished is kept"
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        code, sentence, broken = _BAD_INPUT, f"error: {reason}", isinstance(error, BrokenPipeError)
        _show_traceback()
    except InputError as error:
        code, sentence = _BAD_INPUT, f"error: {error}"
        _show_traceback()
    if _reader_left(broken):
        return _NO_READER
    if sentence:
        print(_CONTROL.sub(lambda match: repr(match[0])[1:-1], sentence), file=sys.stderr)
    return code


def _open_standard_streams() -> None:
    """Open streams that are closed, as after >&-, on nothing; else the next files would get their numbers."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (stays open)


def _show_traceback() -> None:
    """Print the traceback of the error that is handled, if the environment asks for it."""
    if os.environ.get("DEEPNETS_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()


def _print_version() -> int:
    print(f"deepnets {deepnets.__version__}")
    return 0


def _reader_left(broken: bool) -> bool:
    """Tell whether nobody reads the output; then the rest is dropped, or Python would complain when it exits.

    Args:
        broken: some pipe is broken; an empty line shows whether it is the one of the output.
    """
    try:
        if broken:
            print()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C inside the `with` block, so that workers end and temporary files are deleted."""
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
