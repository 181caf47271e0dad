"""Training: a resumed or split run equals the whole one, bad networks are left out, and the loss goes down."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ghn_models
from deepnets.datasets.generation import generate, split_path
from deepnets.utils.run_directory import RunDirectory
from ghn_models import GHN, CheckpointError, train
from ghn_models.images.datasets import ImageTask, load_images, usual_image_size
from ghn_models.training import run, step
from ghn_models.training import trainer as loop
from ghn_models.training.architecture_pool import ArchitecturePool, SizeLimits, TrainingNetwork
from ghn_models.training.calibration import calibrate
from ghn_models.training.curves import plot_curves
from ghn_models.training.distributed import ProcessGroup
from ghn_models.training.options import TrainOptions
from ghn_models.training.recipes import RECIPES, Recipe
from ghn_models.training.trainer import Trainer, TrainingError
from tests.support.paths import ROOT
from tests.support.small_ghns import KINDS

TINY = replace(
    RECIPES["laptop"],
    steps=6,
    meta_batch_size=2,
    batch_size=16,
    warmup=0.25,
    limits=SizeLimits((5, 5), (70, 90), (3e5, 3e5), (32, 32)),
    num_architectures=2000,
    validate_every=3,
)


TIMES = ("seconds_per_step", "images_per_second", "networks_per_second")


@pytest.fixture(autouse=True)
def few_validation_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_VALIDATION_NETWORKS", 1)
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)


def trainer(folder: Path, recipe: Recipe = TINY, kind: str = "ghn3", ranks: ProcessGroup = ProcessGroup()) -> Trainer:  # noqa: B008
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    pool = ArchitecturePool(None, recipe.num_architectures, 32, 10, seed=0)
    return Trainer(GHN(KINDS[kind]), load_images("digits"), recipe, pool, folder, 0, {"model": kind}, ranks)


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / loop.LOG).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_stopped_run_goes_on_as_if_it_had_not(
    average: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(TINY, average=average)
    whole = trainer(tmp_path / "whole", recipe)
    whole.run()
    stopped = trainer(tmp_path / "stopped", recipe)
    one_step = stopped._one_step

    def stop() -> Any:
        if stopped.step == 5:  # after the checkpoint of step 3, and two more steps in the log
            raise KeyboardInterrupt
        return one_step()

    monkeypatch.setattr(stopped, "_one_step", stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = trainer(tmp_path / "stopped", recipe)
    resumed.run()
    assert log(tmp_path / "stopped") == log(tmp_path / "whole")
    for a, b in zip(whole.ghn.parameters(), resumed.ghn.parameters(), strict=True):
        assert torch.equal(a, b)
    assert resumed._latest() == whole._latest()
    assert all(torch.equal(value, resumed.average.values[name]) for name, value in whole.average.values.items())


def test_the_log_says_how_fast_it_goes(tmp_path: Path) -> None:
    trainer(tmp_path / "run", replace(TINY, steps=2, small_images=(0.0, 0.0))).run()
    lines = [json.loads(line) for line in (tmp_path / "run" / loop.LOG).read_text().splitlines()]
    for line in lines[:2]:
        assert line["images_per_second"] > 0
        assert line["images_per_second"] == pytest.approx(16 * line["networks_per_second"])


def test_averaged_weights_are_what_is_validated_and_loaded(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run", replace(TINY, steps=3, average=0.5))
    kept = []
    update = made.average.update

    def updated(step: int) -> None:
        update(step)
        kept.append([parameter.detach().clone() for parameter in made.ghn.parameters()])

    made._resume()  # calibrated, so its average is a new one
    update = made.average.update
    made.average.update = updated  # type: ignore[method-assign]
    made._resume = lambda: None  # type: ignore[method-assign]
    start = [value.clone() for value in made.average.values.values()]
    made.run()
    shares = [9 / 10, 9 / 11, 9 / 12]
    expected = start
    for weights, share in zip(kept, shares, strict=True):
        expected = [torch.lerp(a, b, share) for a, b in zip(expected, weights, strict=True)]
    loaded = ghn_models.load(str(tmp_path / "run" / "step_0000003"))
    for parameter, value in zip(loaded.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter, value)
    for parameter, value in zip(made.ghn.parameters(), kept[-1], strict=True):
        assert torch.equal(parameter, value)


def test_a_run_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    first = trainer(tmp_path / "first", replace(TINY, average=0.5, schedule="constant"))
    first.run()
    pool = ArchitecturePool(None, TINY.num_architectures, 32, 10, seed=0)
    recipe = replace(TINY, steps=4, warmup=0.0, schedule="linear", average=0.5)
    start = tmp_path / "first" / "step_0000006"
    second = Trainer(
        GHN(KINDS["ghn3"]), load_images("digits"), recipe, pool, tmp_path / "second", 0, {}, ProcessGroup(), start
    )
    (tmp_path / "second").mkdir()
    second._resume()
    for a, b, (name, _) in zip(
        first.ghn.parameters(), second.ghn.parameters(), first.ghn.named_parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert torch.equal(a, second.average.values[name])
        assert all(torch.equal(v, second.optimizer.state[b][k]) for k, v in first.optimizer.state[a].items())
    assert second.step == 0
    second.run()
    rates = [line["lr"] for line in log(tmp_path / "second") if "lr" in line]
    assert rates == pytest.approx([recipe.lr * share for share in (1, 0.75, 0.5, 0.25)])


def test_schedules() -> None:
    def shares(**changes: Any) -> list[float]:
        recipe = replace(TINY, steps=12, warmup=0.25, **changes)
        return [loop.schedule(recipe, step) for step in (0, 2, 3, 8, 9, 11)]

    assert shares(schedule="constant") == pytest.approx([1 / 3, 1, 1, 1, 1, 1])
    assert shares(schedule="linear") == pytest.approx([1 / 3, 1, 1, 4 / 9, 1 / 3, 1 / 9])
    assert shares(schedule="step") == pytest.approx([1 / 3, 1, 1, 1, 0.1, 0.01])
    cosine = [0.5 * (1 + np.cos(np.pi * k / 9)) for k in (0, 5, 6, 8)]
    assert shares(schedule="cosine") == pytest.approx([1 / 3, 1, *cosine])


def test_growth_ends_before_the_run() -> None:
    assert [replace(TINY, steps=8).progress(step) for step in (0, 2, 8)] == [0, 0.25, 1]
    assert [replace(TINY, steps=8, growth=4).progress(step) for step in (0, 2, 4, 8)] == [0, 0.5, 1, 1]


def test_validation_takes_as_many_images_as_the_recipe_says(tmp_path: Path) -> None:
    assert len(trainer(tmp_path / "all").validation) == 300
    few = trainer(tmp_path / "few", replace(TINY, validation_images=3))
    assert few.validation.labels.bincount().tolist() == [3] * 10


@pytest.mark.parametrize("norm", ["bn", None])
def test_networks_in_bfloat16_have_nearly_the_same_gradients(norm: str | None, tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    networks = [n for i in range(40) for n in made.pool.sample(i, 2, TINY.limits) if n.architecture.norm == norm][:3]
    assert len(networks) == 3
    batches = [made.task.train.sample(32, np.random.default_rng(i)) for i in range(3)]
    found = []
    for amp in (False, True):
        made.ghn.zero_grad()
        outcome = step.accumulate(made.ghn, networks, batches, [0, 1, 2], step.LossConfig(amp=amp), 1.0)
        found.append((torch.cat([p.grad.flatten() for p in made.ghn.parameters() if p.grad is not None]), outcome))
    (exact, one), (fast, other) = found
    assert torch.cosine_similarity(exact, fast, dim=0) > 0.98
    assert other.losses == pytest.approx(one.losses, rel=0.05)
    assert not torch.equal(exact, fast)


@pytest.mark.parametrize("content", ["[]", "5", "{", "{}", '{"step": 3}', "other types"])
def test_a_damaged_pointer_is_noticed_and_nothing_begins_again(content: str, tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    made.step = 3
    made._save(0.5)
    path = tmp_path / "run" / loop.LATEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "step": "3"}) if content == "other types" else content)
    with pytest.raises(CheckpointError, match=r"latest\.json is damaged, so nobody knows where to go on"):
        made._resume()


def test_a_damaged_optimizer_is_one_sentence(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    made._save(0.5)
    os.truncate(tmp_path / "run" / "step_0000000" / "optimizer.safetensors", 5)
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is not a complete safetensors file"):
        made._resume()


def rewritten(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    """Change the tensors of a file, and the hashes that lie beside it, so that only their meaning is wrong."""

    def damage(path: Path) -> None:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        for name, key in (("config.json", "weights_sha256"), ("../latest.json", "optimizer_sha256")):
            beside = path.parent / name
            beside.write_text(json.dumps({**json.loads(beside.read_text()), key: None}))

    return damage


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model", flipped, "is damaged: its sha256 is not the one in config.json"),
        ("optimizer", flipped, "is damaged: its sha256 is not the one in latest.json"),
        ("model", rewritten(lambda s: s["norm.bias"].fill_(float("nan"))), "norm.bias has numbers that are not finite"),
        ("model", rewritten(lambda s: s.pop("norm.bias")), "has no norm.bias, which its configuration needs"),
        ("optimizer", rewritten(lambda s: s.pop("step.norm.bias")), "has no step.norm.bias, but exp_avg.norm.bias"),
        ("optimizer", rewritten(lambda s: s.update(a=torch.ones(1))), "has 'a', which is not of this GHN"),
        (
            "optimizer",
            rewritten(lambda s: s.update({"exp_avg.norm.bias": torch.ones(3)})),
            r"exp_avg.norm.bias has shape \(3,\), not \(16,\)",
        ),
        ("optimizer", rewritten(lambda s: s["exp_avg.norm.bias"].fill_(float("inf"))), "numbers that are not finite"),
    ],
)
def test_a_run_does_not_go_on_with_damaged_files(
    file: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    made = trainer(tmp_path / "run")
    made.step = 3
    for parameter in made.ghn.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.optimizer.step()
    made._save(0.5)
    made._resume()
    damage(tmp_path / "run" / "step_0000003" / f"{file}.safetensors")
    with pytest.raises(CheckpointError, match=message):
        made._resume()


@pytest.mark.parametrize(
    "change",
    [
        {"step": -5},
        {"step": True},
        {"folder": "../other/step_0000003"},
        {"best": ".."},
        {"best_accuracy": 1e308},
        {"bad_steps": -1},
        {"counts": {}},
        {"counts": {"non_finite": "x", "out_of_memory": 0, "skipped_steps": 0}},
    ],
)
def test_pointers_that_nobody_wrote(change: dict[str, Any], tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    made.step = 3
    made._save(0.5)
    path = tmp_path / "run" / loop.LATEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=r"latest\.json is damaged"):
        made._resume()


def test_what_a_killed_save_left_is_removed(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    for made.step in (3, 6):
        made._save(0.5)
    for left in ("step_0000003", "step_0000009"):
        (tmp_path / "run" / left).mkdir()
    made._resume()
    assert [path.name for path in (tmp_path / "run").glob("step_*")] == ["step_0000006"]


def test_lines_of_the_log_that_nobody_wrote_leave_it(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    made.step = 3
    made._save(0.5)
    path = tmp_path / "run" / loop.LOG
    path.write_bytes(b'[1]\n{"step": "x"}\nnull\n\xff\xfe\n{"a": 1}\n' + b"[" * 10**5 + b'\n{"step": 3}\n')
    made._resume()
    assert path.read_text() == '{"step": 3}\n'


def test_a_pool_is_of_the_train_split(tmp_path: Path) -> None:
    generate(split_path(tmp_path, "train"), "search", num=5, workers=1)
    with pytest.raises(ValueError, match=r"deepnets1m_train\.hdf5 has networks of search; GHNs are trained"):
        ArchitecturePool(tmp_path, 5, 32, 10, 0)


@pytest.mark.parametrize("finished", [0, 3])
def test_lines_that_come_again_or_were_cut_off_leave_the_log(finished: int, tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    if finished:
        made.step = finished
        made._save(0.5)
    path = tmp_path / "run" / loop.LOG
    path.write_text('{"step": 3, "loss": 1.0}\n{"step": 4, "loss": 0.9}\n{"step": 5, "lo')
    made._resume()
    assert path.read_text() == ('{"step": 3, "loss": 1.0}\n' if finished else "")


@pytest.mark.parametrize("at", [2, 4])
def test_shared_images_go_on_in_the_epoch(at: int, tmp_path: Path) -> None:
    """The papers' recipes show each image once in an epoch, also if the run was stopped in between."""
    recipe = replace(TINY, same_images=True, batch_size=400, crop=4, small_images=(0.0, 0.0))
    whole, resumed = trainer(tmp_path / "whole", recipe), trainer(tmp_path / "resumed", recipe)
    resumed.step = at  # an epoch is two batches of 400 of 1,197 images
    all_batches = whole._shared_batches()
    expected = [next(all_batches) for _ in range(at + 3)][at:]
    found = resumed._shared_batches()
    for images, labels in expected:
        again = next(found)
        assert torch.equal(again[0], images)
        assert torch.equal(again[1], labels)


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    trainer(tmp_path / "run", replace(TINY, steps=1)).run()
    before = (tmp_path / "run" / loop.LOG).read_text()
    trainer(tmp_path / "run", replace(TINY, steps=1)).run()
    assert (tmp_path / "run" / loop.LOG).read_text() == before
    assert plot_curves(tmp_path / "run").stat().st_size > 10_000


SPLIT = """
import sys
from pathlib import Path
import torch.distributed as dist
from ghn_models.training import trainer as loop
from ghn_models.training.distributed import ProcessGroup
from tests.ghn_models.training.test_trainer import TINY, trainer
loop._VALIDATION_NETWORKS, loop._LOG_EVERY = 2, 1
made = trainer(Path(sys.argv[1]), ranks=ProcessGroup.join("cpu"))
made.run()
dist.destroy_process_group()
"""


def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes half of every meta-batch, over gloo."""
    monkeypatch.setattr(loop, "_VALIDATION_NETWORKS", 2)
    whole = trainer(tmp_path / "whole")
    whole.run()
    script = tmp_path / "split.py"
    script.write_text(SPLIT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, str(tmp_path / "split")], check=True, cwd=ROOT, env=environment, timeout=240)
    for one, two in zip(log(tmp_path / "whole"), log(tmp_path / "split"), strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=5e-3)  # an image more or less
    split = ghn_models.checkpoints.folder.read_tensors(tmp_path / "split" / "step_0000006" / "model.safetensors")
    start = trainer(tmp_path / "start").ghn.state_dict()
    end = whole.ghn.state_dict()
    moved = torch.cat([(end[name] - start[name]).flatten() for name in end])
    apart = torch.cat([(end[name] - split[name]).flatten() for name in end])
    assert apart.norm() < 0.01 * moved.norm()  # Adam makes steps of rounding errors where a gradient is zero


def bad_run(bad: set[int]) -> Any:
    """`run` with a loss that is not finite for some of its calls."""
    calls = iter(range(10_000))

    def run(module: torch.nn.Module, parameters: dict[str, Tensor], images: Tensor, amp: bool) -> Tensor:
        logits = ORIGINAL_RUN(module, parameters, images, amp)
        return logits * torch.nan if next(calls) in bad else logits

    return run


ORIGINAL_RUN = step.run


def gradients(ghn: GHN) -> list[Tensor]:
    """Return the gradient of every parameter; each has one."""
    found = [p.grad for p in ghn.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def test_a_network_without_a_finite_loss_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is that of the other network alone."""
    made = trainer(tmp_path / "run")
    networks = made.pool.sample(0, 2, TINY.limits)
    batches = [made._images(network, slot) for slot, network in enumerate(networks)]
    step.accumulate(made.ghn, networks[:1], batches[:1], [1], TINY.objective, 0.5)
    alone = [g.clone() for g in gradients(made.ghn)]
    made.ghn.zero_grad()
    monkeypatch.setattr(step, "run", bad_run({1}))
    outcome = step.accumulate(made.ghn, networks, batches, [1, 2], TINY.objective, 0.5)
    assert (len(outcome.losses), outcome.non_finite) == (1, 1)
    for parameter, expected in zip(made.ghn.parameters(), alone, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-7)


def test_bad_networks_are_counted_and_many_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_MAX_BAD_STEPS", 2)
    monkeypatch.setattr(step, "run", bad_run({0, 1, 2}))
    made = trainer(tmp_path / "few", replace(TINY, steps=2))
    made.run()
    assert made.counts == {"non_finite": 3, "out_of_memory": 0, "skipped_steps": 1}
    monkeypatch.setattr(step, "run", bad_run(set(range(100))))
    with pytest.raises(TrainingError, match="no network of the last 2 meta-batches"):
        trainer(tmp_path / "many").run()


def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are retried one by one; what does not fit alone is left out, and the others count as before."""
    made = trainer(tmp_path / "run")
    networks = made.pool.sample(0, 3, TINY.limits)
    batches = [made._images(network, slot) for slot, network in enumerate(networks)]
    for kept in ([0, 2], [0, 1, 2]):
        made.ghn.zero_grad()
        chosen = [networks[i] for i in kept], [batches[i] for i in kept], kept
        step.accumulate(made.ghn, *chosen, TINY.objective, 0.5)
        expected = [g.clone() for g in gradients(made.ghn)]
        made.ghn.zero_grad()
        large = networks[1].module if kept == [0, 2] else None
        failures = iter([True])

        def run(
            module: torch.nn.Module,
            parameters: Any,
            images: Tensor,
            amp: bool,
            large: Any = large,
            f: Any = failures,
        ) -> Any:
            if module is large or (large is None and next(f, False)):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return ORIGINAL_RUN(module, parameters, images, amp)

        monkeypatch.setattr(step, "run", run)
        outcome = step.accumulate(made.ghn, networks, batches, [0, 1, 2], TINY.objective, 0.5)
        monkeypatch.setattr(step, "run", ORIGINAL_RUN)
        assert outcome.out_of_memory == 3 - len(kept)
        for parameter, gradient in zip(made.ghn.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_predicted_parameters_become_better(tmp_path: Path) -> None:
    """A GHN can learn one network by heart."""
    torch.manual_seed(0)
    ghn, task = GHN(KINDS["ghn2"]), load_images("digits")
    pool = ArchitecturePool(None, 500, 32, 10, seed=0)
    networks: list[TrainingNetwork] = pool.sample(0, 1, SizeLimits((6, 6), (110, 110), (3e5, 3e5), (32, 32)))
    optimizer = torch.optim.Adam(ghn.parameters(), 3e-3)
    rng, small = np.random.default_rng(0), task.train.resized(16)
    losses = []
    for seed in range(150):
        optimizer.zero_grad()
        outcome = step.accumulate(ghn, networks, [small.sample(32, rng)], [seed], TINY.objective, 1.0)
        torch.nn.utils.clip_grad_norm_(ghn.parameters(), 1.0)
        optimizer.step()
        losses += outcome.losses
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "ghn4"], "there is no model 'ghn4'"),
        (
            ["--model", "ghn2", "--recipe", "pasta"],
            "there is no recipe 'pasta'; accepted: ghn2, ghn3, ghn3_imagenet, lap",
        ),
        (["--model", "ghn2", "--dataset", "mnist"], "there is no image data set 'mnist'; accepted: digits"),
        (["--model", "ghn2", "--dataset", "cifar10"], "the images of cifar10 need the folder that they are in"),
        (["--model", "ghn2", "--lr", "nan"], "lr is nan; it must be a finite number above 0"),
        (["--model", "ghn2", "--steps", "0"], "steps is 0; it must be a finite number above 0"),
        (["--model", "ghn2", "--meta-batch-size", "0"], "meta_batch_size is 0; it must be a finite number above 0"),
        (["--model", "ghn2", "--seed", "-1"], "seed is -1; it must be from 0 to 2^63 - 1"),
        (["--model", "ghn2", "--device", "tpu"], "there is no device 'tpu'"),
        (["--model", "mlp", "--root", "no"], "there is no no/deepnets1m_train.hdf5; deepnets generate --split train"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    assert train.main() == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Trains, saves what `load` reads, and does not mix two runs in one folder."""
    monkeypatch.setitem(RECIPES, "laptop", TINY)
    arguments = ["train", "--model", "mlp", "--steps", "2", "--out", str(tmp_path / "run"), "--plot"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert train.main() == 0
    assert "accuracy" in capsys.readouterr().out
    ghn = ghn_models.load(tmp_path / "run" / "best")
    assert ghn.config.graph_network == "mlp"
    about = ghn_models.checkpoints.folder.read_metadata(tmp_path / "run" / "best")
    assert about["dataset"] == "digits"
    assert about["settings"]["steps"] == 2
    assert (tmp_path / "run" / "curves.png").exists()
    assert train.main() == 0  # there is nothing left to do
    assert ghn_models.load(tmp_path / "run" / "best").config == ghn.config
    with RunDirectory(tmp_path / "run", {}, "run").locked():
        code = "from tests.ghn_models.training.test_trainer import *; RECIPES['laptop'] = TINY; sys.exit(train.main())"
        other = subprocess.run([sys.executable, "-c", code, *arguments[1:]], capture_output=True, text=True)
    assert other.returncode == 2
    assert "another process works on" in other.stderr
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [*arguments[:4], "3", *arguments[5:]])
    assert train.main() == 2
    assert "has a run with settings.steps 2 instead of 3; choose another --out" in capsys.readouterr().err


def test_folders_of_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "laptop", TINY)
    for name in ("best", "step_1000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.pt").write_text("precious")
    (tmp_path / "log.jsonl").write_text('{"epoch": 1}\n{"step": 5}\n')
    before = content(tmp_path)
    monkeypatch.setattr(run, "ArchitecturePool", None)  # nothing is drawn before the folder is looked into
    monkeypatch.setattr(sys, "argv", ["train", "--model", "mlp", "--steps", "1", "--out", str(tmp_path)])
    assert train.main() == 2
    assert "has files that belong to no run, such as best; choose another --out" in capsys.readouterr().err
    assert content(tmp_path) == before


def content(folder: Path) -> dict[Path, str | None]:
    return {path: path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def test_a_run_goes_on_with_the_same_architectures_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "laptop", TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "--model", "mlp", "--steps", "1"])
    assert train.main() == 0
    path = split_path("data", "train")
    generate(path, "train", num=TINY.num_architectures, workers=1)
    assert train.main() == 0
    generate(path, "train", num=TINY.num_architectures, workers=1, seed=1, overwrite=True)
    assert train.main() == 2
    assert "has a run with architectures_sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dataset", "image_size", "used"), [("imagenet", None, 224), ("imagenet", 32, 32), ("cifar10", None, 32)]
)
def test_networks_have_the_size_of_the_images(
    dataset: str, image_size: Any, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool:
        def __init__(self, *_: Any, image_size: int, **__: Any) -> None:
            raise ValueError(f"networks for {image_size}")

    def digits(name: str, _: Path | None, size: int | None) -> ImageTask:
        return load_images("digits", image_size=size or usual_image_size(name))

    monkeypatch.setattr(run, "load_images", digits)
    monkeypatch.setattr(run, "ArchitecturePool", Pool)
    with pytest.raises(ValueError, match=f"networks for {used}"):
        run.train(TrainOptions("mlp", dataset, image_size=image_size))


def test_larger_meta_batches_may_have_more_nodes() -> None:
    recipe = run._recipe(TrainOptions("ghn3_xl", recipe="ghn3_imagenet", meta_batch_size=16), "cpu")
    assert (recipe.meta_batch_size, recipe.limits.meta_batch_nodes) == (16, 4400)
    alone = run._recipe(TrainOptions("ghn3_xl", recipe="ghn3_imagenet", meta_batch_size=1), "cpu")
    assert alone.limits.meta_batch_nodes == 2200, "large networks would never be drawn"
    assert run._recipe(TrainOptions("ghn3", recipe="ghn3"), "cpu") == RECIPES["ghn3"]


@pytest.mark.parametrize("kind", KINDS)
def test_calibration(kind: str, tmp_path: Path) -> None:
    """Afterwards predicted weights have half the size of He's, and only the scale of weights has changed."""
    made = trainer(tmp_path / "run", replace(TINY, weight_scale=None), kind)
    networks = made.pool.sample(0, 4, TINY.limits)
    graphs = [network.graph for network in networks]
    before = made.ghn.predict(graphs)
    factor = calibrate(made.ghn, networks, 0.5)
    ratios = []
    for old, new in zip(before, made.ghn.predict(graphs), strict=True):
        for name, value in new.items():
            if value.dim() == 4 and "classifier" not in name:
                torch.testing.assert_close(value, factor * old[name], rtol=1e-4, atol=1e-6)
            if value.dim() == 4 and value.numel() >= 1000:
                ratios.append((value.square().mean() * value[0].numel() / 2).sqrt().item())
    if kind != "ghn1":  # whose weights are not normalized
        assert np.mean(ratios) == pytest.approx(0.5, rel=0.2)


def test_gradients_of_networks_are_clipped(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    networks = made.pool.sample(0, 2, TINY.limits)
    batches = [made._images(network, slot) for slot, network in enumerate(networks)]
    norms = []
    for clip in (None, 0.02, 0.01):
        made.ghn.zero_grad()
        step.accumulate(made.ghn, networks, batches, [1, 2], replace(TINY.objective, network_clip=clip), 0.5)
        norms.append(torch.stack([g.norm() for g in gradients(made.ghn)]).norm().item())
    assert norms[0] > norms[1]
    assert norms[1] == pytest.approx(2 * norms[2], rel=1e-3)
