"""Training of single networks: optimizers, schedules, regularization, and going on after a kill."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.training import job_folder, loop
from benchmarks.training.config import TrainingConfig
from benchmarks.training.job_folder import JobFolder
from benchmarks.training.loop import cut_out, train_network
from benchmarks.training.optimizers import lr_factor
from deepnets.design_space.named_architectures import named_architecture
from deepnets.networks.network import Network
from ghn_models.images.datasets import ImageTask
from tests.support.training import plan_of, trained


def network(seed: int = 0, dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = (
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
    )
    return nn.Sequential(*layers, nn.Linear(512, 10))


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("optimizer", "options"), [("sgd", {"nesterov": True}), ("adam", {}), ("adamw", {"cutout": 3})]
)
def test_a_training_goes_on_where_it_was_killed(
    optimizer: Any, options: dict[str, Any], digits: ImageTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the second epoch, with dropout: weights, statistics and curve are equal to the bit."""
    plan = plan_of(3, 128, 0.01, 5, optimizer, 1e-2, schedule="cosine", **options)
    folder = JobFolder(tmp_path, "test_0-0", every=0.0)
    whole, resumed = network(), network()
    expected = train_network(whole, digits.train, plan)
    written, real = [], JobFolder.write

    def killing(self: JobFolder, *args: Any) -> None:
        real(self, *args)
        written.append(1)
        if len(written) == 13:
            raise Killed

    monkeypatch.setattr(JobFolder, "write", killing)
    with pytest.raises(Killed):
        train_network(network(), digits.train, plan, folder)
    torch.manual_seed(99)  # another process
    outcome = train_network(resumed, digits.train, plan, folder)

    assert len(written) == 27 + 1  # each step once, and the end
    assert outcome == expected
    assert [line["step"] for line in outcome.curve] == [9, 18, 27]
    states = (whole.state_dict(), resumed.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    again = network(3)  # a training that had ended is not repeated
    assert train_network(again, digits.train, plan, folder) == expected
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in states[0].items())


def test_states_of_other_trainings_and_damaged_ones_are_not_used(digits: ImageTask, tmp_path: Path) -> None:
    plan, folder = plan_of(0.2, 128, 0.01), JobFolder(tmp_path, "test_0-0", every=0.0)
    train_network(network(), digits.train, plan, folder)
    other = replace(plan, seed=1)
    expected, found = network(), network()
    train_network(expected, digits.train, other)
    train_network(found, digits.train, other, folder)
    assert all(map(torch.equal, expected.parameters(), found.parameters()))
    (path,) = (tmp_path / job_folder.UNFINISHED).rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    train_network(found := network(), digits.train, plan, folder)
    train_network(expected := network(), digits.train, plan)
    assert all(map(torch.equal, expected.parameters(), found.parameters()))
    job_folder.forget_unfinished(tmp_path, "test_0-0")
    assert not list(tmp_path.iterdir())


def test_short_trainings_write_nothing(digits: ImageTask, tmp_path: Path) -> None:
    train_network(network(), digits.train, plan_of(0.2, 128, 0.01), JobFolder(tmp_path, "test_0-0", every=60.0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, 1e-3, 0.9, weight_decay=0.3, nesterov=True)),
        ("adam", lambda p: torch.optim.Adam(p, 1e-3, weight_decay=0.3)),
        ("adamw", lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.3)),
    ],
)
def test_steps_are_those_of_the_optimizer(optimizer: Any, make: Any, digits: ImageTask) -> None:
    """With label smoothing, warm-up and clipping, written down here once more."""
    options = {"nesterov": optimizer == "sgd", "label_smoothing": 0.1, "clip": 0.5, "warmup": 0.4}
    plan = plan_of(0.4, 128, 1e-3, 2, optimizer, 0.3, **options)
    model = network(dropout=0.0)
    reference = copy.deepcopy(model)
    steps = make(reference.parameters())
    for step, (x, y) in zip(range(4), loop.epochs_of(digits.train, 128, 2, False), strict=False):
        steps.param_groups[0]["lr"] = 1e-3 * ((step + 1) / 4.6 if step < 3.6 else 1)
        log_p = F.log_softmax(reference(x), 1)
        loss = -(0.9 * log_p.gather(1, y[:, None]).mean() + 0.1 * log_p.mean())
        steps.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in reference.parameters() if p.grad is not None]).norm()
        for p in reference.parameters():
            assert p.grad is not None
            p.grad.mul_(min(1.0, 0.5 / (norm.item() + 1e-6)))
        steps.step()
    assert train_network(model, digits.train, plan).steps == 4
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-5)


def test_schedules() -> None:
    def factors(total: int, **options: Any) -> list[float]:
        return [round(lr_factor(TrainingConfig(**options), step, total, per_epoch=2), 6) for step in range(total)]

    assert factors(4) == [1, 1, 1, 1]
    assert factors(4, schedule="cosine") == [1, 0.853553, 0.5, 0.146447]
    assert factors(8, schedule="step", decay_every=1.5) == [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert factors(6, schedule="cosine", warmup=1) == [0.333333, 0.666667, 1, 0.853553, 0.5, 0.146447]


def test_steps_in_place_of_epochs(digits: ImageTask) -> None:
    plan = plan_of(9, 128, 0.01)
    plan = replace(plan, trial=replace(plan.trial, steps=11))
    outcome = train_network(network(), digits.train, plan)
    assert outcome.steps == 11
    assert [line["epoch"] for line in outcome.curve] == [1, 11 / 9]


def test_cutout_is_a_square_around_a_random_pixel() -> None:
    images = cut_out(torch.ones(2000, 3, 8, 8), 4, np.random.default_rng(0))
    zeros = (images == 0).float()
    assert torch.equal(zeros[:, 0], zeros[:, 2])
    rows, columns = zeros[:, 0].amax(2).sum(1), zeros[:, 0].amax(1).sum(1)  # sides inside of the image
    assert torch.equal(zeros[:, 0].sum((1, 2)), rows * columns)
    assert {*rows.tolist(), *columns.tolist()} == {2, 3, 4}
    assert rows.mean().item() == pytest.approx((5 * 4 + 2 * 3 + 2) / 8, abs=0.05)
    assert cut_out(images, 0, np.random.default_rng(0)) is images


def test_auxiliary_classifier_and_drop_path(digits: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The auxiliary loss reaches the network, drop path grows over the epochs, and both are gone afterwards."""
    architecture = replace(named_architecture("darts"), n_cells=3, channels=8)
    task = digits.train.resized(32)
    networks, seen = [], []
    for weight in (0.0, 0.4):
        torch.manual_seed(0)
        networks.append(Network(architecture))
        names = set(networks[-1].state_dict())
        trained(networks[-1], task.class_balanced_subset(4), 1, 40, 0.1, auxiliary=weight)
        assert set(networks[-1].state_dict()) == names
    assert any(not torch.equal(a, b) for a, b in zip(*(n.stem0.parameters() for n in networks), strict=True))
    real = Network.forward

    def watching(self: Network, images: Tensor) -> Any:
        seen.append(self.drop_path.p)
        return real(self, images)

    monkeypatch.setattr(Network, "forward", watching)
    trained(networks[0], task.class_balanced_subset(4), 4, 20, 0.01, drop_path=0.2)
    assert seen == pytest.approx([0, 0, 0.05, 0.05, 0.1, 0.1, 0.15, 0.15])
    assert networks[0].drop_path.p == 0


def test_settings_that_training_cannot_use() -> None:
    wrong: dict[str, Any]
    for wrong in ({"clip": -1}, {"label_smoothing": 1.0}, {"batch_size": 2}, {"decay_every": 0}, {"warmup": -1}):
        with pytest.raises(ValueError, match=rf"^finetune.{next(iter(wrong))} is .+; accepted: "):
            TrainingConfig(**wrong).check("finetune")
