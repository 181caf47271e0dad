"""Table 1 as text: columns of files beside those of the paper."""

import dataclasses
from pathlib import Path

from deepnets.analysis.statistics import split_statistics
from deepnets.analysis.table_1 import PAPER_TABLE_1, format_table_1
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.storage.network_file import NetworkFile


def test_table_text(val: NetworkFile, train: NetworkFile) -> None:
    text = format_table_1([("val", split_statistics(val)), ("mine", split_statistics(train, sample=20))])
    lines = text.splitlines()
    assert lines[0].split() == ["val", "paper", "mine", "paper"]
    rows = {line.split("  ")[0]: line.split() for line in lines}
    assert rows["graphs"][1:] == ["30", "500", "10,000", "10^6"]
    assert rows["conv"][-1] == "36.3"
    assert {line.split(" ")[0] for line in lines} >= set(PRIMITIVES)


def test_the_paper_is_quoted_where_it_applies(folder: Path, val: NetworkFile) -> None:
    imagenet = split_statistics(NetworkFile(folder / "val.hdf5", image_size=224))
    unknown = dataclasses.replace(split_statistics(val), split="mine")
    assert "paper" not in format_table_1([("val", imagenet), ("mine", unknown)])
    assert all(set(PAPER_TABLE_1["val"]) <= set(column) for column in PAPER_TABLE_1.values())
