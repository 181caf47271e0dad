"""Sentences for the user."""

import doctest

import pytest

from deepnets.utils import errors, text_table
from deepnets.utils.errors import one_line, unknown_choice


@pytest.mark.parametrize(
    ("choices", "more", "sentence"),
    [
        (["train", "test"], "", "there is no split 'tset'; did you mean test? accepted: train, test"),
        (["train"], "all", "there is no split 'tset'; accepted: train, all"),
        (["wide"], "", "there is no split 'tset'; accepted: wide"),
        ([f"{i} networks" for i in range(100)], "", "there is no split 'tset'"),
        ([*map(str, range(100)), "test"], "all", "there is no split 'tset'; did you mean test? accepted: all"),
    ],
)
def test_unknown_choice(choices: list[str], more: str, sentence: str) -> None:
    assert unknown_choice("split", "tset", choices, more) == sentence


def test_choices_need_not_be_texts() -> None:
    assert unknown_choice("size", 33, ["32", "224"]) == "there is no size 33; accepted: 32, 224"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(" a\n  b "), "a b"),
        (KeyError(), "KeyError"),
        (OSError("x" * 300), "x" * 200),
        ("two\nlines", "two lines"),
    ],
)
def test_one_line(error: object, line: str) -> None:
    assert one_line(error) == line


@pytest.mark.parametrize("module", [errors, text_table])
def test_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert (result.failed, result.attempted > 0) == (0, True)
