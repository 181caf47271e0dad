"""Folders of results: taken if they are new, empty or of the same results."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deepnets.utils.atomic_files import FileError
from deepnets.utils.run_directory import claimed, refuse_other


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step_1000").mkdir()
    with (
        pytest.raises(FileError, match=r"has files that are of no run, such as step_1000; choose another --out"),
        claimed(tmp_path, {"seed": 0}, "run"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["step_1000"]


@pytest.mark.parametrize("left", [(), ("lock",), ("lock", "identity.json.partial")])
def test_a_folder_that_was_left_at_the_begin_is_taken(left: tuple[str, ...], tmp_path: Path) -> None:
    for name in left:
        (tmp_path / name).touch()
    with claimed(tmp_path, {"seed": 0}, "run"):
        (tmp_path / "results").touch()
    with claimed(tmp_path, {"seed": 0}, "run"):
        assert (tmp_path / "results").exists()


def test_a_part_of_the_identity_tells_early_what_does_not_fit(tmp_path: Path) -> None:
    with claimed(tmp_path / "run", {"seed": 0, "sizes": (1, 2)}, "run"):
        pass
    refuse_other(tmp_path / "run", {"sizes": (1, 2)}, "run")
    refuse_other(tmp_path / "new", {"seed": 1}, "run")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in ("file", "file/run", "dangling", "dangling/run"):
        with pytest.raises(FileError, match=r"(file|dangling) is no folder; choose another --out"):
            refuse_other(tmp_path / path, {"seed": 1}, "run")
    with pytest.raises(FileError, match=r"has a run with sizes \[1, 2\] instead of \[3\]"):
        refuse_other(tmp_path / "run", {"sizes": (3,)}, "run")


@pytest.mark.parametrize("done", [False, True])
def test_a_folder_in_which_nothing_was_done_can_be_used_for_something_else(done: bool, tmp_path: Path) -> None:
    def fail() -> None:
        if done:
            (tmp_path / "results").touch()
        raise ValueError("bad input")

    def use(seed: int, work: Callable[[], None] = lambda: None) -> None:
        with claimed(tmp_path, {"seed": seed}, "run"):
            work()

    with pytest.raises(ValueError, match="bad input"):
        use(0, fail)
    if done:
        with pytest.raises(FileError, match="has a run with seed 0 instead of 1"):
            use(1)
    use(int(not done))
