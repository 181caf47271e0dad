"""The error of models that cannot be traced."""


class TraceError(ValueError):
    """A model cannot be traced; the message is one sentence for the user."""
