"""Folders of results: taken if they are new, empty or of the same results."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deepnets.utils.errors import FileError
from deepnets.utils.run_directory import RunDirectory


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step_1000").mkdir()
    with (
        pytest.raises(FileError, match=r"has files that belong to no run, such as step_1000; choose another --out"),
        RunDirectory(tmp_path, {"seed": 0}, "run").locked(),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["step_1000"]


@pytest.mark.parametrize("left", [(), ("lock",), ("lock", "identity.json.partial")])
def test_a_folder_that_was_left_at_the_begin_is_taken(left: tuple[str, ...], tmp_path: Path) -> None:
    for name in left:
        (tmp_path / name).touch()
    with RunDirectory(tmp_path, {"seed": 0}, "run").locked():
        (tmp_path / "results").touch()
    with RunDirectory(tmp_path, {"seed": 0}, "run").locked():
        assert (tmp_path / "results").exists()


def test_a_part_of_the_identity_tells_early_what_does_not_fit(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", {"seed": 0, "sizes": (1, 2)}, "run").locked():
        pass
    RunDirectory(tmp_path / "run", {"sizes": (1, 2)}, "run").check()
    RunDirectory(tmp_path / "new", {"seed": 1}, "run").check()
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in ("file", "file/run", "dangling", "dangling/run"):
        with pytest.raises(FileError, match=r"(file|dangling) is not a folder; choose another --out"):
            RunDirectory(tmp_path / path, {"seed": 1}, "run").check()
    with pytest.raises(FileError, match=r"has a run with sizes \[1, 2\] instead of \[3\]"):
        RunDirectory(tmp_path / "run", {"sizes": (3,)}, "run").check()


@pytest.mark.parametrize("done", [False, True])
def test_a_folder_in_which_nothing_was_done_can_be_used_for_something_else(done: bool, tmp_path: Path) -> None:
    def fail() -> None:
        if done:
            (tmp_path / "results").touch()
        raise ValueError("bad input")

    def use(seed: int, work: Callable[[], None] = lambda: None) -> None:
        with RunDirectory(tmp_path, {"seed": seed}, "run").locked():
            work()

    with pytest.raises(ValueError, match="bad input"):
        use(0, fail)
    if done:
        with pytest.raises(FileError, match="has a run with seed 0 instead of 1"):
            use(1)
    use(int(not done))
