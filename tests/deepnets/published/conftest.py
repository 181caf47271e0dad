"""Files in the published format."""

import gzip
from pathlib import Path

import pytest

from tests.support.paths import GOLDEN

SAMPLES = GOLDEN / "official"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for packed in SAMPLES.glob("*.gz"):
        (tmp_path / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return tmp_path
