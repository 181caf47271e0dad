"""How options of the command are shown."""

from typing import Any

import tyro


def unset(metavar: str) -> Any:
    """Of an option that has no value unless it is given: its text says what happens then."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")
