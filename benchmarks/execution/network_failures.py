"""Whose error it was: a network's own, which is a result of a run, or another one, which ends the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from types import FrameType

import torch
from torch import nn

from deepnets.utils.errors import FileError, InputError, is_mistake, one_line
from ghn_models.images.decode import ImageError
from ghn_models.training.step import is_out_of_memory

_CALL = nn.Module._call_impl.__code__


class NetworkError(InputError):
    """A network that cannot be built, with the reason as the cause."""


@contextmanager
def errors_of_network() -> Iterator[None]:
    """Count the errors of code that builds a network as those of the network.

    Raises:
        NetworkError: the code raised any error but a mistake of the toolkit.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError | OSError) or is_out_of_memory(error) or is_mistake(error):
            raise
        raise NetworkError(describe(error)) from error


def is_of_network(error: Exception) -> bool:
    """Tell whether an error is the network's own, judged by where it was raised.

    It is if it was raised on purpose, as by a proxy that has no value for the network, while the network was called or
    differentiated, or by linear algebra on its values. Files that cannot be used and mistakes in the toolkit are not,
    wherever they were raised, nor are errors of a protocol, a proxy or a GHN.
    """
    if isinstance(error, InputError):
        return not isinstance(error, FileError | ImageError)
    if isinstance(error, OSError) or is_mistake(error):
        return False
    if isinstance(error, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        return True
    return any(_runs_network(frame) for frame, _ in walk_tb(error.__traceback__))


def _runs_network(frame: FrameType) -> bool:
    if str(frame.f_globals.get("__name__")).startswith("torch.autograd"):
        return True
    return frame.f_code is _CALL and not type(frame.f_locals.get("self")).__module__.startswith("ghn_models.")


def describe(error: Exception) -> str:
    """Return an error as the reason in a row of results: its sentence, or its kind and text."""
    return one_line(error if isinstance(error, InputError) else f"{type(error).__name__}: {error}")
