"""Replacements of functions that fail."""

from typing import Any


def raising(kind: type[BaseException]) -> Any:
    def fail(*args: object) -> None:
        raise kind

    return fail
