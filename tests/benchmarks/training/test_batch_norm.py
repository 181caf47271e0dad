"""Trained networks are scored with running statistics of batch norm, which exist after a few steps too."""

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.evaluation_networks import EvaluationNetwork
from benchmarks.core.protocol import Case
from benchmarks.protocols.finetune import Finetune, FinetuneConfig
from benchmarks.protocols.nas import Nas, NasConfig
from benchmarks.protocols.no_finetune import NoFinetune, NoFinetuneConfig
from benchmarks.scoring.scorers import by_accuracy
from benchmarks.training.batch_norm import estimate_statistics, settle_statistics
from benchmarks.training.config import TrainingConfig
from ghn_models import batch_statistics
from ghn_models.images.datasets import ImageTask
from tests.support.resnet20 import resnet20
from tests.support.training import trained


@torch.no_grad()
def by_hand(model: nn.Module, task: ImageTask) -> float:
    """Return the accuracy on test images as the network, in the mode that it is in, has it."""
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in task.test.batches(64))
    return right / len(task.test)


def case_of(model: nn.Module, task: ImageTask, **options: Any) -> Case[ImageTask]:
    return Case(model, task, 128, 1, EvaluationNetwork("test", 0, "test/0"), by_accuracy, **options)


def test_a_trained_resnet20_is_scored_as_in_evaluation_mode(digits: ImageTask) -> None:
    model = resnet20()
    assert trained(model, digits.train, 2, 64, 0.1).finite
    running, batch = (topk_accuracy(model, digits.test.batches(64), running=on)[0] for on in (True, False))

    assert running != batch
    assert running == by_hand(model.eval(), digits)
    with batch_statistics(model):
        assert batch == by_hand(model, digits)


@pytest.mark.parametrize("steps", ["running", "estimated"])
def test_finetune_says_which_statistics_it_used(steps: Any, digits: ImageTask) -> None:
    kept: list[nn.Module] = []

    class Folder:
        curves = False
        due = False

        def read(self, *args: object) -> None: ...
        def write_curves(self, lines: object) -> None: ...
        def keep_network(self, model: nn.Module) -> None:
            kept.append(model)

    settings = FinetuneConfig(epochs=1, lrs=(0.1,), batch_norm=steps)
    folder: Any = Folder()
    result = Finetune().evaluate(case_of(resnet20(), digits, folder=folder), settings)

    assert result["norm_batches"] == (0 if steps == "running" else len(digits.train) // 64)
    assert result["top1"] == by_hand(kept[0].eval(), digits)


def test_statistics_are_the_mean_of_those_of_training_batches(digits: ImageTask) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(192, 10)).eval()
    norm: Any = model[0]
    norm.running_mean.fill_(7.0)

    assert estimate_statistics(model, digits.train, seed=3) == 18
    batches = [x for x, _ in digits.train.shuffled(64, 3, 0)]
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0))
    assert norm.momentum == 0.1
    assert not any(module.training for module in model.modules())


def test_statistics_are_computed_anew_only_where_initial_values_remain(digits: ImageTask) -> None:
    model, config = resnet20(), TrainingConfig()
    assert settle_statistics(model, digits.train, config, steps=43, seed=0) == 18  # 0.9^43 is above a hundredth
    assert settle_statistics(model, digits.train, config, steps=44, seed=0) == 0
    assert settle_statistics(model, digits.train, TrainingConfig(batch_norm="running"), steps=1, seed=0) == 0
    assert settle_statistics(nn.Linear(2, 2), digits.train, config, steps=1, seed=0) == 0


def test_trained_weights_keep_their_running_statistics_without_training(digits: ImageTask) -> None:
    model = resnet20()
    trained(model, digits.train, 1, 64, 0.1)
    estimate_statistics(model, digits.train, 0)
    case, as_predicted = case_of(model, digits, running_statistics=True), case_of(model, digits)

    result = NoFinetune().evaluate(case, NoFinetuneConfig())
    assert result["top1"] == topk_accuracy(model, digits.test.batches(128), running=True)[0]
    assert result != NoFinetune().evaluate(as_predicted, NoFinetuneConfig())
    assert (
        by_accuracy(case) == topk_accuracy(model, digits.val.batches(64), running=True)[0] != by_accuracy(as_predicted)
    )


def test_versions_change_only_where_numbers_do() -> None:
    assert NoFinetune().version_of(NoFinetuneConfig(), "ghn2.digits") == 1
    assert NoFinetune().version_of(NoFinetuneConfig(), "pretrained-0a1b2c") == 2
    assert Nas().version_of(NasConfig(), "synflow") == 1
    assert Nas().version_of(NasConfig(truth="training"), "synflow") == 2
    assert Finetune().version_of(FinetuneConfig(), "randinit") == 2
