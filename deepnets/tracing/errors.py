"""The error of models that cannot be traced, and the line of their code that is the reason."""

import sys

from deepnets.utils.errors import InputError


class TraceError(InputError):
    """A model cannot be traced; the message is one sentence for the user.

    Args:
        message: the sentence.
        reads_values: whether the model reads values, which meta tensors do not have.
    """

    def __init__(self, message: str, reads_values: bool = False) -> None:
        super().__init__(message)
        self.reads_values = reads_values


def model_line() -> str:
    """Return file and line of the model's code that is being run."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "deepnets"):
        frame = frame.f_back  # type: ignore[assignment]
    return "" if frame is None else f", {frame.f_code.co_filename}:{frame.f_lineno}"
