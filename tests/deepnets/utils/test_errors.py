"""Sentences for the user."""

import doctest
import json

import numpy as np
import pytest

from deepnets.utils import errors, text_table
from deepnets.utils.errors import FileError, InputError, is_mistake, one_line, unknown_choice


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


def raised(module: str, source: str) -> Exception:
    """Return the error that code of a module raises."""
    try:
        exec(source, {"__name__": module, "json": json, "np": np})
    except Exception as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("module", "source", "mistake"),
    [
        ("deepnets.datasets.truth", "colour", True),
        ("deepnets.datasets.truth", "json.dumps(object())", True),
        ("benchmarks.run", "np.zeros(3)[4]", True),
        ("deepnetsy.models", "colour", False),
        ("__main__", "{}['colour']", False),
        ("deepnets.datasets.truth", "1 / 0", False),
        ("deepnets.datasets.truth", "np.zeros(3) + np.zeros(4)", False),
    ],
)
def test_mistakes_are_judged_by_kind_and_place(module: str, source: str, mistake: bool) -> None:
    assert is_mistake(raised(module, source)) == mistake


def test_modules_may_raise_errors_of_their_callers() -> None:
    error = raised("deepnets.datasets.truth", "colour")
    for through in (("deepnets.datasets.truth",), ("deepnets",)):
        assert not is_mistake(error, through)
    assert not is_mistake(raised("deepnets.datasets.truth", "json.dumps(object())"), ())


def test_what_users_can_mend_is_one_kind_of_value_error() -> None:
    assert issubclass(FileError, InputError)
    assert issubclass(InputError, ValueError)
