"""Prefixes of the names of trained weights; the command line knows them, so torch is not imported here."""

PRETRAINED_PREFIX = "pretrained:"
PRETRAINED_RECORD_PREFIX = "pretrained-"
"""Prefixes of the name of trained weights: pretrained:PATH in options, pretrained-HASH in records."""
TRAINED_PREFIX = "trained:"
TRAINED_RECORD_PREFIX = "trained-"
"""Prefixes of the name of networks that a run has saved: trained:RUN in options, trained-MODEL-HASH in records."""


def is_trained(name: str) -> bool:
    """Return whether the name of a model in records stands for trained weights, with running statistics of batch norm.

    >>> is_trained("pretrained-0a1b2c"), is_trained("ghn2.digits")
    (True, False)
    """
    return name.startswith((PRETRAINED_RECORD_PREFIX, TRAINED_RECORD_PREFIX))
