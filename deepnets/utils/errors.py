"""Error sentences for the user."""

import errno
import sys
from collections.abc import Container, Iterable
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb

_TOOLKIT = ("benchmarks", "deepnets", "ghn_models")
_MISTAKES = (AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
_LIBRARIES = sys.stdlib_module_names | {"h5py", "numpy", "pandas", "scipy", "torch"}
_LONGEST = 200
_LONGEST_SENTENCE = 2000
_MOST_CHOICES = 40


class InputError(ValueError):
    """An error that users can correct; the message is one sentence for them.

    Commands print the sentence of this error alone. All other errors but OSError are mistakes in the program, whose
    traceback is shown.

    Args:
        sentence: the message, cut at 2,000 characters, since it may have values of a foreign file.
    """

    def __init__(self, sentence: object = "") -> None:
        text = str(sentence)
        super().__init__(text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]} ...")


class FileError(InputError):
    """A file that cannot be used."""


def is_mistake(error: BaseException, through: Container[str] = _LIBRARIES) -> bool:
    """Tell whether an error is a mistake in the toolkit: of a kind that mistakes have, and raised by its own code.

    Where other people's code is called, say that of a model, its errors are results, and mistakes must not look like
    them.

    Args:
        error: as it was caught.
        through: packages and modules that raise the errors of those who call them.
    """
    if not isinstance(error, _MISTAKES):
        return False
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]
    packages = (module.partition(".")[0] for module in reversed(modules) if module not in through)
    return next((package for package in packages if package not in through), "") in _TOOLKIT


def one_line(error: object) -> str:
    """Return an error's text as one line of at most 200 characters; its type if it has no text.

    >>> one_line(ValueError("a\\n  b"))
    'a b'
    """
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def printable(text: object) -> str:
    """Return a text of at most 200 characters for the terminal, whose control characters do nothing there.

    >>> printable("a\x1b[31m")
    'a\\\\x1b[31m'
    """
    characters = str(text)[:_LONGEST]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in characters)


def unknown_choice(noun: str, name: object, choices: Iterable[str], more: str = "") -> str:
    """Return the sentence for a name that does not exist: what it may have meant, and what is accepted.

    Choices are listed unless there are more than 40 of them.

    Args:
        noun: word for what the user asked for, such as "split" or "networks".
        name: the unknown name.
        choices: all names that exist.
        more: other accepted values, as text for the end of the sentence.

    >>> unknown_choice("split", "tset", ["train", "test"])
    "there is no split 'tset'; did you mean test? accepted: train, test"
    """
    known = list(choices)
    listed = known if len(known) <= _MOST_CHOICES else []
    accepted = ", ".join([*listed, more] if more else listed)
    sentence = f"there {'are' if noun.endswith('s') else 'is'} no {noun} {name!r}{did_you_mean(str(name), known)}"
    if not accepted:
        return sentence
    return f"{sentence}{'' if sentence.endswith('?') else ';'} accepted: {accepted}"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the closest of the names that exist, or nothing if none is close."""
    close = get_close_matches(name, list(choices), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def describe_write_error(error: OSError, path: Path) -> Exception:
    """Return a failure to write as an exception whose message is one sentence for the user."""
    if isinstance(error, FileExistsError) and error.errno is None:  # raised by us
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return FileError(f"the disk is full while writing {path}; what was finished is kept")
    if isinstance(error, PermissionError) or error.errno in (errno.EACCES, errno.EROFS):
        return FileError(f"cannot write {path}: the folder is not writable")
    return FileError(f"cannot write {path}: {error.strerror or error}")
