"""How commands end: with an exit code and at most one sentence, never with a traceback that no one needs."""

import os
import sys
from collections.abc import Callable

_BAD_INPUT = 2
_INTERRUPTED = 130  # as shells count: 128 and the number of the signal
_NOBODY_READS = 141


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    Bad input, files that cannot be used and the like are ValueError or OSError: one sentence on standard error, and 2.
    An interrupted command returns 130. Where whoever read the output has left, as `head` does, it is 141 and nothing
    is said.

    Args:
        command: parses its options, works, and returns its exit code; it may exit as parsers do.
    """
    sentence, broken = "", False
    try:
        code = command()
    except SystemExit as stop:
        is_number = stop.code is None or isinstance(stop.code, int)
        code, sentence = (int(stop.code or 0), "") if is_number else (_BAD_INPUT, str(stop.code))
    except KeyboardInterrupt:
        code, sentence = _INTERRUPTED, "interrupted; what was finished is kept"
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        code, sentence, broken = _BAD_INPUT, f"error: {reason}", isinstance(error, BrokenPipeError)
    except ValueError as error:
        code, sentence = _BAD_INPUT, f"error: {error}"
    if _reader_left(broken):
        return _NOBODY_READS
    if sentence:
        print(sentence, file=sys.stderr)
    return code


def _reader_left(broken: bool) -> bool:
    """Whether output cannot be delivered; then it is dropped, or Python would complain when it exits.

    Args:
        broken: some pipe is, and an empty line shows whether it is this one.
    """
    try:
        if broken:
            print()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
