"""Loss and gradient of a meta-batch: bad networks are left out, others count as before, and the loss goes down."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ghn_models import GHN
from ghn_models.images.datasets import load_images
from ghn_models.training import step
from ghn_models.training.architecture_pool import ArchitecturePool, SizeLimits, TrainingNetwork
from tests.support.small_ghns import KINDS
from tests.support.tiny_training import ORIGINAL_RUN, TINY, bad_run, tiny_trainer


def gradients(ghn: GHN) -> list[Tensor]:
    """Return the gradient of every parameter; each has one."""
    grads = [p.grad for p in ghn.parameters()]
    assert all(gradient is not None for gradient in grads)
    return [gradient for gradient in grads if gradient is not None]


@pytest.mark.parametrize("norm", ["bn", None])
def test_networks_in_bfloat16_have_nearly_the_same_gradients(norm: str | None, tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    networks = [n for i in range(40) for n in trainer.pool.sample(i, 2, TINY.limits) if n.architecture.norm == norm][:3]
    assert len(networks) == 3
    batches = [trainer.task.train.sample(32, np.random.default_rng(i)) for i in range(3)]
    results = []
    for amp in (False, True):
        trainer.ghn.zero_grad()
        outcome = step.accumulate(trainer.ghn, networks, batches, [0, 1, 2], step.LossConfig(amp=amp), 1.0)
        results.append((torch.cat([p.grad.flatten() for p in trainer.ghn.parameters() if p.grad is not None]), outcome))
    (exact, one), (fast, other) = results
    assert torch.cosine_similarity(exact, fast, dim=0) > 0.98
    assert other.losses == pytest.approx(one.losses, rel=0.05)
    assert not torch.equal(exact, fast)


def test_a_network_without_a_finite_loss_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is that of the other network alone."""
    trainer = tiny_trainer(tmp_path / "run")
    networks = trainer.pool.sample(0, 2, TINY.limits)
    batches = [trainer._images(network, slot) for slot, network in enumerate(networks)]
    step.accumulate(trainer.ghn, networks[:1], batches[:1], [1], TINY.objective, 0.5)
    alone = [g.clone() for g in gradients(trainer.ghn)]
    trainer.ghn.zero_grad()
    monkeypatch.setattr(step, "run", bad_run({1}))
    outcome = step.accumulate(trainer.ghn, networks, batches, [1, 2], TINY.objective, 0.5)
    assert (len(outcome.losses), outcome.non_finite) == (1, 1)
    for parameter, expected in zip(trainer.ghn.parameters(), alone, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-7)


def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are retried one by one; what does not fit alone is left out, and the others count as before."""
    trainer = tiny_trainer(tmp_path / "run")
    networks = trainer.pool.sample(0, 3, TINY.limits)
    batches = [trainer._images(network, slot) for slot, network in enumerate(networks)]
    for kept in ([0, 2], [0, 1, 2]):
        trainer.ghn.zero_grad()
        chosen = [networks[i] for i in kept], [batches[i] for i in kept], kept
        step.accumulate(trainer.ghn, *chosen, TINY.objective, 0.5)
        expected = [g.clone() for g in gradients(trainer.ghn)]
        trainer.ghn.zero_grad()
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
        outcome = step.accumulate(trainer.ghn, networks, batches, [0, 1, 2], TINY.objective, 0.5)
        monkeypatch.setattr(step, "run", ORIGINAL_RUN)
        assert outcome.out_of_memory == 3 - len(kept)
        for parameter, gradient in zip(trainer.ghn.parameters(), expected, strict=True):
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
    for seed in range(110):
        optimizer.zero_grad()
        outcome = step.accumulate(ghn, networks, [small.sample(32, rng)], [seed], TINY.objective, 1.0)
        torch.nn.utils.clip_grad_norm_(ghn.parameters(), 1.0)
        optimizer.step()
        losses += outcome.losses
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_gradients_of_networks_are_clipped(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run")
    networks = trainer.pool.sample(0, 2, TINY.limits)
    batches = [trainer._images(network, slot) for slot, network in enumerate(networks)]
    norms = []
    for clip in (None, 0.02, 0.01):
        trainer.ghn.zero_grad()
        step.accumulate(trainer.ghn, networks, batches, [1, 2], replace(TINY.objective, network_clip=clip), 0.5)
        norms.append(torch.stack([g.norm() for g in gradients(trainer.ghn)]).norm().item())
    assert norms[0] > norms[1]
    assert norms[1] == pytest.approx(2 * norms[2], rel=1e-3)
