"""Where tests find their files."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

GOLDEN = ROOT / "tests" / "golden"
"""Measured on the reference code."""

DATA = ROOT / "tests" / "data"
"""Numbers printed in the papers."""

LEADERBOARDS = ROOT / "leaderboards"
"""The leaderboards of the repository."""
