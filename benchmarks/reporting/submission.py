"""Rules for pull requests to the leaderboards: one that submits records changes nothing else."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.initializers.ghn import ORTH_SUFFIX
from benchmarks.initializers.registry import get_method
from benchmarks.protocols.nas import is_truth_file
from benchmarks.records.record import Record, RecordError
from benchmarks.records.reserved_names import shipped_weights
from benchmarks.reporting.leaderboard_folder import CONFIRMED, DATASETS, VERIFIED
from benchmarks.scoring.zero_cost_proxies import PROXIES


def change_problems(root: Path, base: str) -> Iterator[str]:
    """Yield a sentence for each rule that a change breaks; changes without records have no rules.

    A change that adds records must not touch the code, the lists that records are checked against, or other records.

    Args:
        root: folder of the leaderboards, in a git repository.
        base: commit that the change starts from, such as origin/main.

    Raises:
        RecordError: git does not know the folder or the commit.
    """
    changes = _changes(root, base)
    folder = _git(root, "rev-parse", "--show-prefix").strip()
    if not any(path.startswith(f"{folder}runs/") for path in changes):
        return
    for path, status in changes.items():
        if path.startswith(f"{folder}runs/"):
            if status != "A":
                yield f"{path} was there before; records are added, not changed or deleted"
        elif path in (f"{folder}{VERIFIED}", f"{folder}{CONFIRMED}"):
            yield f"{path} is for maintainers; it does not change together with records"
        elif not path.startswith(folder):
            yield f"{path} is not in {folder}; a change that submits records changes nothing else"
    if f"{folder}{DATASETS}" in changes:
        before = json.loads(_git(root, "show", f"{base}:{folder}{DATASETS}"))
        after = json.loads((root / DATASETS).read_text())
        for name, sizes in before.items():
            if any(after.get(name, {}).get(size) != sha256 for size, sha256 in sizes.items()):
                yield f"{DATASETS} has other images of {name} than before"


def new_records(root: Path, base: str) -> list[str]:
    """Return the run_ids of the records that a change adds or edits.

    Raises:
        RecordError: git does not know the folder or the commit.
    """
    prefix = _git(root, "rev-parse", "--show-prefix").strip() + "runs/"
    paths = [path for path, status in _changes(root, base).items() if path.startswith(prefix) and status != "D"]
    return sorted({Path(path).name.removesuffix(".json").removesuffix(".csv.gz") for path in paths})


def missing_input(record: Record, data_dir: Path | None) -> str:
    """Return the weights, images, networks or truth that are missing to measure a record again, or an empty string."""
    name = record["model"]["name"]
    if not (name.removesuffix(ORTH_SUFFIX) in shipped_weights() or name in PROXIES or get_method(name) is not None):
        return f"the weights {name}"
    if record["dataset"]["name"] != "digits" and data_dir is None:
        return f"the images of {record['dataset']['name']}"
    if "networks_from" in record:
        return f"the networks of {record['networks_from']['source']}"
    truth = record["protocol"]["settings"].get("truth", "")
    return f"the truth {truth}" if is_truth_file(truth) else ""


def _changes(root: Path, base: str) -> dict[str, str]:
    """Return A (added), M (modified) or D (deleted) by path of the files that differ from the base."""
    output = _git(root, "diff", "--name-status", "--no-renames", "-z", base).split("\0")
    return dict(zip(output[1::2], output[::2], strict=False))


def _git(root: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RecordError(f"git {arguments[0]} fails in {root}: {' '.join(result.stderr.split())[:200]}")
    return result.stdout
