"""The command line of benchmarks.run is quick: nothing heavy is imported before it is needed."""

import subprocess
import sys

HEAVY = ("torch", "torchvision", "torch_geometric", "sklearn", "scipy", "pandas", "matplotlib", "h5py")


def test_the_parser_imports_nothing_heavy() -> None:
    """Neither do the options of all protocols and studies, their default values, and the help text."""
    code = f"""
import sys
from benchmarks.run import options_class, parse_options

try:
    parse_options(["--help"])
except SystemExit as stop:
    assert stop.code == 0
options = parse_options(["--model", "randinit", "--protocol", "finetune", "--finetune.lrs", "0.1"])
assert options.finetune.lrs == (0.1,) and options.analysis.train == 5000
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--protocol" in done.stdout
    assert "properties of networks predicted from their graph embeddings" in done.stdout
