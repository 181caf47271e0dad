"""The distribution: one version, one name, and the extras that messages tell users to install."""

import re
import tomllib
from pathlib import Path

import deepnets
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CODE = [path for package in ("deepnets", "ghn_models", "benchmarks") for path in (ROOT / package).rglob("*.py")]


def test_citation_names_the_version() -> None:
    cited = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)

    assert cited == [deepnets.__version__]


def test_pip_install_commands_name_this_distribution_and_its_extras() -> None:
    commands = [found for path in [ROOT / "README.md", *CODE] for found in _installed(path)]

    assert len(commands) >= 5
    for path, name, extras in commands:
        assert name in (".", PROJECT["name"]), path
        assert set(extras) <= set(PROJECT["optional-dependencies"]), path


def _installed(path: Path) -> list[tuple[Path, str, list[str]]]:
    """Return what `path` says to install by `pip install 'NAME[EXTRA,...]'`."""
    commands = re.findall(r"pip install (?:--editable )?'([\w.-]*)\[([\w,]+)\]'", path.read_text())
    return [(path, name, extras.split(",")) for name, extras in commands]
