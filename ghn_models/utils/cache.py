"""The cache: files that were made from others and can be made again."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Return the folder `$DEEPNETS_HOME/KIND`; DEEPNETS_HOME is ~/.cache/deepnets by default."""
    return Path(os.environ.get("DEEPNETS_HOME", "~/.cache/deepnets")).expanduser() / kind
