"""Protocols, and the networks and initialisations that they run on."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.core import accuracy
from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.evaluation_networks import EvaluationNetwork, check_group, networks_in
from benchmarks.core.protocol import Case
from benchmarks.core.torchvision_networks import torchvision_network
from benchmarks.initializers.base import InitContext
from benchmarks.initializers.ghn import Untrained, predict_with
from benchmarks.initializers.registry import load_initializer
from benchmarks.protocols import finetune, transfer
from benchmarks.protocols.registry import PROTOCOLS
from benchmarks.scoring.scorers import by_accuracy
from benchmarks.training import loop
from benchmarks.training.loop import Outcome, TrainingPlan
from deepnets import ArchGraph
from deepnets.sampling.splits import SPLITS
from ghn_models import add_noise, orthogonalize
from ghn_models.images.datasets import ImageTask, load_images
from tests.support.training import trained


@pytest.fixture(scope="module")
def digits() -> ImageTask:
    return load_images("digits")


def case_of(model: nn.Module, task: ImageTask, batch_size: int, seed: int) -> Case[ImageTask]:
    return Case(model, task, batch_size, seed, EvaluationNetwork("test", 0, "test/0"), by_accuracy)


def small_network(seed: int = 0, norm: bool = True) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16) if norm else nn.Identity(), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(144, 10)),
    )


def classifier_weight(model: nn.Sequential) -> Tensor:
    classifier = model[-1]
    assert isinstance(classifier, nn.Linear)
    return classifier.weight


def test_accuracies_use_the_statistics_of_each_batch(digits: ImageTask) -> None:
    model = small_network()
    right1 = right5 = 0
    for images, labels in digits.test.batches(64):
        x = model[0](images)
        x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        order = model[2:](x).argsort(1, descending=True)
        right1 += int((order[:, 0] == labels).sum())
        right5 += int((order[:, :5] == labels[:, None]).any(1).sum())
    state = copy.deepcopy(model.state_dict())
    assert topk_accuracy(model, digits.test.batches(64)) == (right1 / len(digits.test), right5 / len(digits.test))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def test_a_single_image_at_the_end_joins_the_batch_before_it() -> None:
    """As a batch of its own it has no statistics."""
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 10))
    images, labels = torch.randn(9, 3, 2, 2), torch.arange(9)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        topk_accuracy(model, [(images[:1], labels[:1])])
    parts = zip(images.split(4), labels.split(4), strict=True)
    assert topk_accuracy(model, parts) == topk_accuracy(model, [(images[:4], labels[:4]), (images[4:], labels[4:])])


def test_logits_that_are_not_finite_are_wrong() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = F.one_hot(torch.arange(4), 10).float()
            logits[1, 5], logits[2, 2] = float("nan"), float("inf")
            return logits

    batch = (torch.zeros(4, 3, 8, 8), torch.arange(4))
    assert topk_accuracy(Broken(), [batch]) == (0.5, 0.5)


def test_fine_tuning_learns_and_repeats_itself(digits: ImageTask) -> None:
    models = [small_network() for _ in range(2)]
    for model in models:
        assert trained(model, digits.train, 3, 64, 0.05, seed=1).finite
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))
    assert (
        topk_accuracy(models[0], digits.test.batches())[0]
        > 2 * topk_accuracy(small_network(), digits.test.batches())[0]
    )
    assert not trained(small_network(norm=False), digits.train, 1, 64, 1e6, seed=1).finite


def test_a_fraction_of_an_epoch(digits: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: steps.append(self.param_groups[0]["lr"]))
    trained(small_network(), digits.train, 0.1, 128, 0.5)
    assert steps == [0.5]
    steps.clear()
    trained(small_network(), digits.train, 2, 128, 0.5, schedule="cosine")
    assert len(steps) == 2 * (1197 // 128)
    assert steps[0] == 0.5
    assert 0 < steps[-1] < 0.01
    assert steps == sorted(steps, reverse=True)


def test_finetune_tests_the_choice_of_validation_once(digits: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {0.1: 0.3, 0.02: 0.8, 0.5: 0.4}
    tried, asked = [], []
    rates: dict[nn.Module, float] = {}

    def training(model: nn.Module, images: object, plan: TrainingPlan, *rest: object) -> Outcome:
        assert images is digits.train
        tried.append((plan.trial.lr, plan.trial.epochs, plan.batch_size))
        rates[model] = plan.trial.lr
        return Outcome(plan.trial.lr < 0.4, 18, converged=12, initial_gradient_norm=3.0)

    def measured(model: nn.Module, batches: object, running: bool) -> tuple[float, float]:
        assert running
        asked.append((rates[model], batches))
        return scores[rates[model]], 1.0

    monkeypatch.setattr(loop, "train_network", training)
    monkeypatch.setattr(accuracy, "topk_accuracy", measured)
    monkeypatch.setattr(type(digits.val), "batches", lambda self, size: (len(self), size, self is digits.test))
    case = case_of(small_network(), digits, 128, 3)
    settings = finetune.FinetuneConfig(epochs=2, lrs=(0.1, 0.02, 0.5), batch_norm="running")
    result = finetune.Finetune().evaluate(case, settings)
    chosen = {"lr": 0.02, "weight_decay": 3e-5, "norm_batches": 0, "initial_gradient_norm": 3.0}
    chosen |= {"converged": 12, "noisy_val_top1": 0.8}
    assert result == {**chosen, "val_top1": 0.8, "top1": 0.8, "top5": 1.0}
    assert tried == [(0.1, 2, 128), (0.02, 2, 128), (0.5, 2, 128)]
    assert asked == [(0.1, (300, 64, False)), (0.02, (300, 64, False)), (0.02, (300, 64, True))]  # 0.5 diverged


def test_training_that_diverges_has_no_accuracy(digits: ImageTask) -> None:
    tuned = finetune.FinetuneConfig(epochs=0.5, lrs=(1e30, 1e25))
    moved = transfer.TransferConfig(labels_per_class=10, epochs=(2,), lrs=(1e30,), weight_decays=(0.0,))
    for result in (
        finetune.Finetune().evaluate(case_of(small_network(), digits, 16, 0), tuned),
        transfer.Transfer().evaluate(case_of(small_network(), digits, 16, 0), moved),
    ):
        assert (result["val_top1"], result["top1"], result["top5"]) == (0, 0, 0)


def test_finetune_and_transfer_learn(digits: ImageTask) -> None:
    before = topk_accuracy(small_network(), digits.test.batches())[0]
    settings = finetune.FinetuneConfig(epochs=1, lrs=(0.1, 0.01))
    result = finetune.Finetune().evaluate(case_of(small_network(), digits, 128, 0), settings)
    assert float(result["top1"]) > before + 0.2
    few = transfer.TransferConfig(labels_per_class=10, epochs=(5,), lrs=(0.1,), weight_decays=(1e-4,))
    model = small_network()
    weight = classifier_weight(model)
    classifier = weight.detach().clone()
    result = transfer.Transfer().evaluate(case_of(model, digits, 16, 0), few)
    assert float(result["top1"]) > before + 0.2
    assert (result["lr"], result["weight_decay"]) == (0.1, 1e-4)
    assert not torch.equal(classifier_weight(model), classifier)


def test_labels_for_choosing_are_not_trained_on(digits: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    chosen: list[list[tuple[Tensor, Tensor]]] = []
    real = accuracy.topk_accuracy

    def trained_on(model: nn.Module, images: object, *rest: object) -> Outcome:
        seen.append(images)
        return Outcome(True, 100)

    def measured(
        model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], running: bool = False
    ) -> tuple[float, float]:
        chosen.append(list(batches))
        return real(model, chosen[-1], running)

    monkeypatch.setattr(loop, "train_network", trained_on)
    monkeypatch.setattr(accuracy, "topk_accuracy", measured)
    case = case_of(small_network(), digits, 16, 5)
    transfer.Transfer().evaluate(
        case, transfer.TransferConfig(labels_per_class=10, lrs=(0.1, 0.01), weight_decays=(0.0,))
    )
    part, _, everything = seen

    def rows(images: Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    held_out = rows(torch.cat([x for x, _ in chosen[0]]))
    used = rows(torch.cat([x for x, _ in part.batches()]))
    assert len(used) == 80
    assert len(held_out) == 20
    assert not used & held_out
    assert rows(torch.cat([x for x, _ in everything.batches()])) == used | held_out
    assert sum(len(y) for _, y in chosen[-1]) == len(digits.test)


def test_settings_are_checked() -> None:
    wrong: dict[str, Any]
    for wrong in ({"epochs": 0}, {"lrs": ()}, {"lrs": (0.1, -1)}, {"beta": -1}, {"epochs": float("nan")}):
        with pytest.raises(ValueError, match=rf"^finetune.{next(iter(wrong))} is .+; accepted: "):
            finetune.FinetuneConfig(**wrong)
    for wrong in ({"labels_per_class": 1}, {"epochs": (0,)}, {"lrs": ()}, {"weight_decays": (-1,)}):
        with pytest.raises(ValueError, match=rf"^transfer.{next(iter(wrong))} is .+; accepted: "):
            transfer.TransferConfig(**wrong)


@pytest.mark.parametrize("fits", [True, False])
def test_transfer_keeps_classifiers_that_were_made_for_it(fits: bool, digits: ImageTask) -> None:
    settings = transfer.TransferConfig(labels_per_class=100, epochs=(1,), lrs=(1e-9,), weight_decays=(0.0,))
    model = small_network()
    case = replace(case_of(model, digits, 96, 0), classifier_fits=fits)
    with torch.no_grad():
        classifier_weight(model).zero_()
    transfer.Transfer().evaluate(case, settings)
    assert classifier_weight(model).any() != fits
    assert load_initializer("gradinit.5").makes_classifiers
    assert not load_initializer("randinit").makes_classifiers


def test_every_protocol_names_what_it_returns(digits: ImageTask) -> None:
    few: dict[str, dict[str, Any]] = {
        "finetune": {"epochs": 0.1, "lrs": (0.1,)},
        "nas": {"truth": "training", "epochs": 0.1},
        "transfer": {"epochs": (1,), "lrs": (0.1,), "weight_decays": (0.0,)},
    }
    for name, kind in PROTOCOLS.items():
        if kind.own_dataset is not None:  # of other data
            continue
        settings = kind.settings_class(**few.get(name, {}))
        result = kind.evaluate(case_of(small_network(), digits, kind.batch_size, 0), settings)
        assert set(result) == {*kind.accuracy_columns, *kind.columns}
        assert kind.describe_settings(settings) == kind.describe_settings(kind.settings_class(**few.get(name, {})))
        for group in kind.default_groups:
            check_group(group)


# Networks


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "densenet121", "convnext_tiny", "swin_t", "vit_b_16"])
def test_first_layers_keep_the_resolution_of_small_images(name: str) -> None:
    network = torchvision_network(name, 32, 7).eval()
    sizes: list[tuple[int, ...]] = []
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    convolutions[0].register_forward_hook(lambda module, args, output: sizes.append(tuple(output.shape[2:])))
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    side = {"vit_b_16": 8, "convnext_tiny": 29}.get(name, 32)  # 4x4 kernels without padding in ConvNeXt
    assert sizes == [(side, side)]


def test_networks_of_other_sizes_stay_as_they_are() -> None:
    assert torchvision_network("resnet18", 224, 7).conv1.stride == (2, 2)
    with torch.no_grad():
        assert torchvision_network("vit_b_32", 32, 7)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize("group", [*SPLITS, "torchvision74", "predefined", "darts", "vit", "swin_t"])
def test_groups(group: str) -> None:
    few = networks_in(group, 1)
    assert len(few) == 1
    assert few[0].index == 0
    if group not in ("train", "search"):
        everything = networks_in(group)
        assert [network.index for network in everything] == list(range(len(everything)))
        assert len({network.name for network in everything}) == len(everything)


def test_subjects_have_their_evaluation_width() -> None:
    channels = {}
    for size in (32, 224):
        network, graph = networks_in("wide")[7].build(size, 10)
        architecture = networks_in("wide")[7].architecture(size)
        assert architecture is not None
        assert graph is not None
        assert sum(p.numel() for p in network.parameters()) == architecture.num_params(size, 10)
        channels[size] = architecture.channels
    assert channels[32] == 2 * channels[224]  # 4 and 2 times as wide as others


def test_unknown_groups() -> None:
    with pytest.raises(ValueError, match="there are no networks 'tests'"):
        networks_in("tests")
    with pytest.raises(ValueError, match="num is 0"):
        networks_in("test", 0)


# Initialisations


def init_context(
    digits: ImageTask, graph: ArchGraph | None = None, beta: float | None = None, seed: int = 0
) -> InitContext:
    return InitContext("test/3", graph, digits, 32, torch.Generator().manual_seed(seed), beta)


def network_of(name: str, seed: int = 0, **options: Any) -> nn.Module:
    init = load_initializer(name, untrained=None if name in ("randinit", "orth") else Untrained(10, 32, 0), **options)
    torch.manual_seed(seed)
    model, graph = EvaluationNetwork("test", 3, "test/3").build(32, 10)
    init.apply(model, init_context(load_images("digits"), graph, seed=seed))
    return model


def weights(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.dim() >= 2]


def test_initialisations_differ_and_repeat() -> None:
    for name in ("randinit", "orth", "ghn3_t", "ghn3_t_orth"):
        first, second, third = (network_of(name, seed) for seed in (0, 0, 1))
        assert all(map(torch.equal, weights(first), weights(second)))
        same = all(map(torch.equal, weights(first), weights(third)))
        assert same == (name == "ghn3_t")  # GHN-orth begins with noise


def test_orthogonal_initialisations() -> None:
    for name, first in (("orth", 0), ("ghn3_t_orth", 0), ("ghn3_t_orth", 4)):
        model, plain = network_of(name, orth_layer=first), network_of(name.removesuffix("_orth") if first else name)
        layers = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        before = [m.weight for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for i, weight in enumerate(layers[:-1]):
            if i < first:
                assert torch.equal(weight, before[i])
                continue
            matrix = weight.detach().flatten(1)
            matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
            assert torch.allclose(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-5)


def test_orthogonal_weights_begin_with_noise() -> None:
    """Without it the frame of equal channels follows from the rounding of their weights."""
    ghn = Untrained(10, 32, 0).create("ghn3_t").eval()
    plain, graph = EvaluationNetwork("test", 3, "test/3").build(32, 10)
    ghn(plain, 32, graph)
    network, _ = EvaluationNetwork("test", 3, "test/3").build(32, 10)
    predict_with(ghn, 0)(network, init_context(load_images("digits"), graph))
    generator = init_context(load_images("digits"), graph).generator
    expected = orthogonalize(add_noise(plain, 3e-5, 0, generator))
    assert all(map(torch.equal, weights(network), weights(expected)))


def test_noise_is_added_to_predicted_weights_only(digits: ImageTask) -> None:
    init = load_initializer("ghn3_t", untrained=Untrained(10, 32, 0))
    models = []
    for beta in (0.0, 1e-3):
        model, graph = EvaluationNetwork("test", 3, "test/3").build(32, 10)
        init.apply(model, init_context(digits, graph, beta))
        models.append(model)
    moved = np.array([(a - b).abs().max().item() for a, b in zip(*map(weights, models), strict=True)])
    assert 0 < moved.max() < 0.1
    random = [network_of("randinit") for _ in range(2)]
    load_initializer("randinit").apply(random[0], init_context(digits, beta=1e-3))
    assert all(map(torch.equal, weights(random[0]), weights(random[1])))
