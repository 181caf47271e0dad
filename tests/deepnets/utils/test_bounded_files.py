"""Files of others are read up to a bound, and no further."""

import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from deepnets.utils.bounded_files import decompress_at_most, read_at_most, read_json_at_most
from deepnets.utils.errors import FileError


def test_content_up_to_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_at_most(path, 5) == b"12345"
    assert read_json_at_most(path, 5) == 12345
    with pytest.raises(FileError, match="file has more than 4 bytes"):
        read_at_most(path, 4)
    path.write_bytes(gzip.compress(b"12345"))
    assert decompress_at_most(path, 5) == b"12345"
    with pytest.raises(FileError, match="file has more than 4 bytes"):
        decompress_at_most(path, 4)


def test_numbers_that_are_not_json(tmp_path: Path) -> None:
    for number in ("NaN", "Infinity", "-Infinity"):
        (tmp_path / "file").write_text(f"[{number}]")
        with pytest.raises(ValueError, match=f"it has the number {number}"):
            read_json_at_most(tmp_path / "file", 100)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (read_at_most, decompress_at_most):
        with pytest.raises(FileError, match="pipe is not a regular file"):
            read(tmp_path / "pipe", 100)


def test_bombs_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte of gzip, and a sparse file of a terabyte."""
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(1024):
            file.write(bytes(2**20))
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(2**40)
    script = f"""
import resource
from pathlib import Path
from deepnets.utils.bounded_files import decompress_at_most, read_at_most
for read, name in ((decompress_at_most, {str(bomb)!r}), (read_at_most, {str(tmp_path / "sparse")!r})):
    try:
        read(Path(name), 2**20)
    except ValueError as error:
        print(error)
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))

    run = [sys.executable, "-c", script]
    result = subprocess.run(run, preexec_fn=limit, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "bomb.gz has more than 1,048,576 bytes",
        "sparse has more than 1,048,576 bytes",
    ]
