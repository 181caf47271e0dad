"""The layout of the project: small folders, short functions, imports in one direction, commands that start fast."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("deepnets", "ghn_models", "benchmarks")
HEAVY = {"torch", "torchvision", "torch_geometric", "matplotlib", "sklearn"}
"""Libraries that the help and the version of no command import."""
COMMANDS = ("deepnets.cli", "benchmarks.run", "benchmarks.leaderboard", "ghn_models.train", "ghn_models.convert")


def folders() -> list[Path]:
    """Return every folder of modules."""
    return sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")})


def test_no_folder_has_more_than_12_modules() -> None:
    modules = {folder: [path.name for path in folder.glob("*.py") if path.stem != "__init__"] for folder in folders()}

    assert len(modules) > 20
    assert {folder: names for folder, names in modules.items() if len(names) > 12} == {}


def test_every_package_says_what_is_in_it() -> None:
    inits = [folder / "__init__.py" for folder in folders()]

    assert [path for path in inits if not ast.get_docstring(ast.parse(path.read_text()))] == []


def long_functions(path: Path, limit: int = 30) -> Iterator[str]:
    """Return the functions of a module whose code without the docstring has more than `limit` lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if code and (code[-1].end_lineno or 0) - code[0].lineno + 1 > limit:
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_functions_are_short() -> None:
    long = [name for folder in folders() for path in sorted(folder.glob("*.py")) for name in long_functions(path)]

    assert len(long) <= 10, long


def vague_errors(path: Path) -> Iterator[str]:
    """Return where a module raises errors that say neither that the input is bad nor that the program is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Raise):
            continue
        name = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if isinstance(name, ast.Name) and name.id in ("ValueError", "TypeError", "RuntimeError", "Exception"):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {name.id}"


def test_what_users_can_mend_is_an_input_error() -> None:
    """Commands print its sentence; all other errors end in a traceback."""
    vague = [place for folder in folders() for path in sorted(folder.glob("*.py")) for place in vague_errors(path)]

    assert vague == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages, with the import contract."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=lambda _, names: [n for n in names if is_data(n)])
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def is_data(name: str) -> bool:
    return Path(name).suffix not in ("", ".py") or name in ("weights", "data", "__pycache__")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contract of the packages in a folder."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [*command, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("deepnets/graphs/primitives.py", "import ghn_models.config"),
        ("deepnets/graphs/primitives.py", "import deepnets.storage.column_reader"),
        ("deepnets/symbolic/shapes.py", "import deepnets.networks.layers"),
        ("ghn_models/modules/mlp.py", "def f():\n    import ghn_models.registry"),
        ("benchmarks/training/loop.py", "from benchmarks.reporting import tables"),
    ],
)
def test_imports_go_one_way(copy: Path, module: str, forbidden: str) -> None:
    pytest.importorskip("importlinter")
    assert lint_imports(copy).returncode == 0

    with (copy / module).open("a") as file:
        file.write(f"\n\n{forbidden}\n")
    broken = lint_imports(copy)

    assert broken.returncode == 1
    assert module.removesuffix(".py").replace("/", ".") in broken.stdout


@pytest.mark.parametrize("option", ["--help", "--version"])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_start_without_heavy_libraries(command: str, option: str) -> None:
    code = f"""
import runpy, sys
sys.argv = ["command", {option!r}]
try:
    runpy.run_module({command!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stderr.strip() == "[]"
    assert len(result.stdout) > 5


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_files_that_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:deepnets|ghn_models|benchmarks|tests|leaderboards|\.github)/[\w./-]*)`", text)

    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_tree_in_the_readme_has_every_package() -> None:
    tree = (ROOT / "README.md").read_text().partition("## Layout")[2].split("```")[1].splitlines()[1:]
    named = {name.rstrip("/") for line in tree for name in re.findall(r"[a-z_]+/", line)}
    packages = {path.parent.name for package in PACKAGES for path in (ROOT / package).glob("*/*.py")} | set(PACKAGES)

    assert len(tree) <= 25
    assert packages - named - {"utils"} == set()
    assert named <= {folder.name for folder in folders()}
