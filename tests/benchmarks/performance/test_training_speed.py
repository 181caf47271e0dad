"""The benchmark of training steps measures a step of this checkout, in this process and in one of its own."""

from pathlib import Path

import pytest

from benchmarks.performance import training_speed


def test_a_step_says_how_many_images_it_saw() -> None:
    assert training_speed.training_step("mlp", 32, amp=True)(0) == 4 * training_speed.IMAGES[32]


@pytest.mark.slow
def test_checkouts_are_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(training_speed.__file__).parents[2])
    options = ["--other", here, "--models", "mlp", "--sizes", "16", "--threads", "1", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["training_speed", *options])
    assert training_speed.main() == 0
    title, line = capsys.readouterr().out.splitlines()
    assert title.split() == ["model", "images", "threads", *["images/s", "networks/s"] * 2, "ratio"]
    name, size, threads, *figures, ratio = line.split()
    assert (name, size, threads, ratio[-1]) == ("mlp", "16x16", "1", "x")
    assert all(float(figure) > 0 for figure in figures)


def test_what_is_no_checkout_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["training_speed", "--other", str(tmp_path)])
    assert training_speed.main() == 2
    assert "is not a checkout: it has no folder ghn_models" in capsys.readouterr().err
