"""Where files are kept that were made from others, and can be made again."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """The folder `$DEEPNETS_HOME/KIND`, by default in ~/.cache/deepnets."""
    return Path(os.environ.get("DEEPNETS_HOME", Path.home() / ".cache" / "deepnets")) / kind
