"""Small generated splits."""

from pathlib import Path

import pytest

from deepnets.datasets.generation import generate, split_path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, num in (("train", 300), ("wide", 20)):
        generate(split_path(folder, split), split, num=num, workers=1)
    return folder
