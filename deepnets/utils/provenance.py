"""Provenance of results: versions of libraries, commit of the toolkit, machine."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import deepnets

_REPOSITORY = Path(__file__).parents[2]


def commit() -> str | None:
    """Return the toolkit's commit, with "+changes" if tracked files differ from it; None outside of a repository."""
    if not (_REPOSITORY / ".git").exists():
        return None
    head = _git("rev-parse", "HEAD")
    return head and head + "+changes" * bool(_git("status", "--porcelain", "--untracked-files=no"))


def code_state() -> str | None:
    """Return the commit and a hash of the changes since: equal if and only if all tracked files are equal."""
    head = commit()
    if head is None or "+" not in head:
        return head
    changes = _git("diff", "HEAD", "--binary") or ""
    return f"{head}.{hashlib.sha256(changes.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True, errors="surrogateescape", check=False
        )
    except OSError:  # no git
        return None
    return result.stdout.strip() or None


def versions() -> dict[str, str]:
    """Return the versions of Python, of the toolkit and of the libraries that results depend on."""
    recorded = {"python": platform.python_version(), "deepnets": deepnets.__version__}
    for name in ("torch", "torchvision", "numpy", "scikit-learn"):
        try:
            recorded[name] = version(name)
        except PackageNotFoundError:
            recorded[name] = "unknown"
    return recorded


@cache
def worker_state() -> dict[str, str]:
    """Return what a worker computes with: versions, and a hash of the code of this toolkit's packages."""
    digest = hashlib.sha256()
    for package in ("deepnets", "ghn_models", "benchmarks"):
        for path in sorted((_REPOSITORY / package).rglob("*.py")):
            digest.update(f"{path.relative_to(_REPOSITORY).as_posix()}\n".encode() + path.read_bytes())
    return {**versions(), "code": digest.hexdigest()[:16]}


def machine(device: str) -> dict[str, str | int]:
    """Return what results are computed on: system, processor, device, number of cores, and the GPU if there is one."""
    recorded: dict[str, str | int] = {"system": platform.system(), "processor": platform.machine(), "device": device}
    recorded["cores"] = os.cpu_count() or 1
    if device.startswith("cuda"):
        import torch

        recorded["gpu"] = torch.cuda.get_device_name(device)
    return recorded
