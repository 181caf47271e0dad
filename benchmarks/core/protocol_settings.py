"""Checks and texts of protocol settings."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from deepnets.utils.errors import InputError, printable


def check_setting(name: str, value: float | tuple[float, ...], fits: Callable[[float], bool], accepted: str) -> None:
    """Check one setting.

    Args:
        name: as the user types it, PROTOCOL.NAME.
        value: one or several numbers.
        fits: tells whether a number is accepted.
        accepted: the same in words.

    Raises:
        InputError: a number is not accepted or comes twice, or there is none.
    """
    values = value if isinstance(value, tuple) else (value,)
    described = f"{name} is {printable(' '.join(map(str, values))) or 'empty'}"
    if not (values and all(_is_number(number) and fits(number) for number in values)):
        raise InputError(f"{described}; accepted: {accepted}")
    if len(set(values)) < len(values):
        raise InputError(f"{described}; each value is accepted once")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def has_type_of(value: Any, default: Any) -> bool:
    """Tell whether a setting that JSON had is a number, a printable text or several of these as the default is."""
    if isinstance(default, tuple):
        return isinstance(value, list) and all(has_type_of(item, default[0]) for item in value if default)
    if isinstance(default, float):
        return _is_number(value)
    return type(value) is type(default) and (not isinstance(value, str) or value.isprintable())


def is_positive(value: float) -> bool:
    """Return whether a number is above 0 and finite."""
    return 0 < value < float("inf")


def is_nonnegative(value: float) -> bool:
    """Return whether a number is 0 or more and finite."""
    return 0 <= value < float("inf")


def format_count(number: float, noun: str) -> str:
    """Return a number with its noun.

    >>> format_count(0.1, "epoch"), format_count(10, "epoch")
    ('0.1 epoch', '10 epochs')
    """
    return f"{number:g} {noun}{'s' * (number > 1)}"


def describe_nondefault(text: str, settings: Any, *mentioned: str) -> str:
    """Return a text, followed by the names and values of settings that differ from their defaults.

    Args:
        text: text for tables, before the settings.
        settings: a dataclass of options.
        mentioned: names of options that the text says already.
    """
    others = [f for f in fields(settings) if f.name not in mentioned and getattr(settings, f.name) != f.default]
    return ", ".join(filter(None, [text, *(f"{f.name} {_plain(getattr(settings, f.name))}" for f in others)]))


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
