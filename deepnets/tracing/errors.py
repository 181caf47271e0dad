"""The error of models that cannot be traced."""

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
