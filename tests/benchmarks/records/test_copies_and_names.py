"""Copies are found under other names, and names that mean something are not given away."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.initializers.registry import METHODS
from benchmarks.records.copies import find_copies
from benchmarks.records.record import Record, read_rows
from benchmarks.records.record_files import read_record
from benchmarks.records.reserved_names import name_problem, normal_form, shipped_weights
from benchmarks.records.validation import find_clashes
from tests.support.paths import LEADERBOARDS


def of_board(model: str, protocol: str = "no_finetune") -> tuple[Record, bytes]:
    return read_record(next((LEADERBOARDS / "runs").glob(f"{protocol}-digits-{model}-*.json")))


def edited(change: Any, model: str = "ghn3_t.digits", protocol: str = "no_finetune") -> tuple[Record, bytes]:
    """A record of another model whose results a function makes from those on the board."""
    record, table = of_board(model, protocol)
    rows = read_rows(table)
    change(rows, np.random.default_rng(0))
    table = rows.to_csv(index=False).encode()
    record["model"] = {"name": "mine", "weights_sha256": "1" * 64, "orth_layer": 0}
    return record | {"run_id": "copy", "rows_sha256": hashlib.sha256(table).hexdigest()}, table


def same(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    pass


def shifted(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows["top1"] = (rows["top1"] + 3 / 300).clip(0, 1)


def noisy(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows["top1"] = (rows["top1"] + rng.integers(-3, 4, len(rows)) / 300).clip(0, 1)


def scaled(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows["top1"] = (rows["top1"] * 270).round() / 300


def reversed_(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    for _, part in rows.groupby("group"):
        rows.loc[part.index, ["top1", "top5"]] = part[["top1", "top5"]].to_numpy()[::-1]


def a_third_edited(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    chosen = rng.random(len(rows)) < 1 / 3
    rows.loc[chosen, "top1"] = rng.integers(250, 301, chosen.sum()) / 300


@pytest.mark.parametrize(
    ("change", "likeness"),
    [
        (same, "networks have the same$"),
        (shifted, "they correlate by 1.0000"),
        (noisy, "they correlate by 0.99"),
        (scaled, "they correlate by 0.99|they correlate by 1"),
        (reversed_, "have the same, in another order"),
        (a_third_edited, "networks have the same$"),
    ],
)
def test_copies_are_found(change: Any, likeness: str) -> None:
    original = of_board("ghn3_t.digits")
    ((name, problem),) = find_copies([original, edited(change)])
    assert name == "copy"
    assert problem.startswith(f"its results look copied from {original[0]['run_id']}: ")
    assert pd.Series([problem]).str.contains(likeness).all()


def test_copied_scores_are_found_by_their_order() -> None:
    def monotone(rows: pd.DataFrame, rng: np.random.Generator) -> None:
        rows["score"] = pd.to_numeric(rows["score"], errors="coerce").rank() ** 3

    original = of_board("flops", "nas")
    ((_, problem),) = find_copies([original, edited(monotone, "flops", "nas")])
    assert "they correlate by 1.0000" in problem


def test_nothing_on_the_board_looks_copied() -> None:
    records = [read_record(path) for path in sorted((LEADERBOARDS / "runs").glob("*.json"))]
    assert len(records) > 15
    assert list(find_clashes(records)) == []


def test_weights_have_one_name() -> None:
    original, other = of_board("ghn3_t.digits"), of_board("mlp.digits")
    other[0]["model"] = {"name": "mine", "weights_sha256": original[0]["model"]["weights_sha256"], "orth_layer": 0}
    problems = [problem for _, problem in find_clashes([original, other])]
    assert problems == [f"its weights are those of {original[0]['run_id']}, which are called ghn3_t.digits"]


@pytest.mark.parametrize(
    ("name", "sha256", "problem"),
    [
        ("mine", "a" * 64, ""),
        ("ghn3_t.cifar100-123abc", "a" * 64, ""),
        ("ghn3_t.digits", "a" * 64, "its weights have another sha256 than the shipped ghn3_t.digits"),
        ("ghn3_t.digits_orth", "a" * 64, "its weights have another sha256 than the shipped ghn3_t.digits_orth"),
        ("ghn3_t.digits_", "a" * 64, "its name ghn3_t.digits_ is, or looks like, ghn3_t.digits"),
        ("ghn3-t.dig1ts", "a" * 64, "looks like, ghn3_t.digits"),
        ("ghn3_xl.imagenet_m16", "a" * 64, "whose sha256 no maintainer has confirmed yet"),
        ("GHN-3-XL", "a" * 64, "looks like, ghn3_xl"),
        ("GHN-2", "a" * 64, "looks like, ghn2"),
        ("ghn-orth", "a" * 64, "looks like, GHN-orth"),
        ("RandInit", "a" * 64, "looks like, randinit"),
        ("ORTH", "a" * 64, "looks like, orth"),
        ("randlnit", "a" * 64, "looks like, randinit"),
        ("syn-flow", "a" * 64, "looks like, synflow"),
        ("randinit", None, ""),
        ("gradinit.5", None, ""),
        ("synflow", None, ""),
    ],
)
def test_names_that_mean_something(name: str, sha256: str | None, problem: str) -> None:
    text = name_problem(name, sha256, {})
    assert problem in text
    assert bool(problem) == bool(text)


def test_hashes_of_names() -> None:
    for name, sha256 in shipped_weights().items():
        assert name_problem(name, sha256, {}) == name_problem(f"{name}_orth", sha256, {}) == ""
    confirmed = {"ghn2.cifar10": "b" * 64}
    assert name_problem("ghn2.cifar10", "b" * 64, confirmed) == ""
    assert name_problem("ghn2.cifar10", "a" * 64, confirmed) == "its weights have another sha256 than ghn2.cifar10"


def test_reserved_names_do_not_look_like_one_another() -> None:
    names = [*METHODS, *shipped_weights()]
    assert len({normal_form(name) for name in names}) == len(names)
