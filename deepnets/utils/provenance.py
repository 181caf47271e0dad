"""Where results come from: versions, commit, machine."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import deepnets

_REPOSITORY = Path(__file__).parents[2]


def commit() -> str | None:
    """Commit of the toolkit if it runs from its repository, with "+changes" behind it if files were changed."""
    if not (_REPOSITORY / ".git").exists():
        return None
    head = _git("rev-parse", "HEAD")
    return head and head + "+changes" * bool(_git("status", "--porcelain", "--untracked-files=no"))


def code() -> str | None:
    """The commit and a hash of what was changed since: equal if and only if tracked files are."""
    found = commit()
    if found is None or "+" not in found:
        return found
    changes = _git("diff", "HEAD", "--binary") or ""
    return f"{found}.{hashlib.sha256(changes.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(
            ["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True, errors="surrogateescape", check=False
        )
    except OSError:  # no git
        return None
    return found.stdout.strip() or None


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version(), "deepnets": deepnets.__version__}
    for name in ("torch", "torchvision", "numpy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def machine(device: str) -> dict[str, str | int]:
    """What the results were computed on."""
    found: dict[str, str | int] = {"system": platform.system(), "processor": platform.machine(), "device": device}
    found["cores"] = os.cpu_count() or 1
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
    return found
