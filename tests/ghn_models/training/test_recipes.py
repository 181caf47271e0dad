"""Learning rate schedules and growth of a recipe."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from deepnets.utils.errors import InputError
from ghn_models import create
from ghn_models.config import GHNConfig
from ghn_models.training import run
from ghn_models.training.options import TrainOptions
from ghn_models.training.recipes import RECIPES
from ghn_models.training.step import _penalty
from tests.support.tiny_training import TINY


def test_schedules() -> None:
    def shares(**changes: Any) -> list[float]:
        recipe = replace(TINY, steps=12, warmup=0.25, **changes)
        return [recipe.lr_factor(step) for step in (0, 2, 3, 8, 9, 11)]

    assert shares(schedule="constant") == pytest.approx([1 / 3, 1, 1, 1, 1, 1])
    assert shares(schedule="linear") == pytest.approx([1 / 3, 1, 1, 4 / 9, 1 / 3, 1 / 9])
    assert shares(schedule="step") == pytest.approx([1 / 3, 1, 1, 1, 0.1, 0.01])
    cosine = [0.5 * (1 + np.cos(np.pi * k / 9)) for k in (0, 5, 6, 8)]
    assert shares(schedule="cosine") == pytest.approx([1 / 3, 1, *cosine])


def test_growth_ends_before_the_run() -> None:
    assert [replace(TINY, steps=8).progress(step) for step in (0, 2, 8)] == [0, 0.25, 1]
    assert [replace(TINY, steps=8, growth=4).progress(step) for step in (0, 2, 4, 8)] == [0, 0.5, 1, 1]


def test_ghn2_on_imagenet() -> None:
    """DeepNets paper, section C.1: 150 epochs of batches of 256, a tenth of the learning rate after 100 and 140."""
    recipe = RECIPES["ghn2_imagenet"]
    epoch = 1_231_167 // 256
    assert (recipe.steps, recipe.batch_size, recipe.meta_batch_size) == (150 * epoch, 256, 8)
    factors = [recipe.lr_factor(number * epoch) for number in (0, 99, 100, 139, 140, 149)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("recipe", "dataset", "used"),
    [
        ("ghn2", "imagenet", "ghn2_imagenet"),
        ("ghn3", "imagenet", "ghn3_imagenet"),
        ("ghn3", "cifar10", "ghn3"),
        ("laptop", "imagenet", "laptop"),
    ],
)
def test_the_data_set_picks_the_recipe_of_the_paper(recipe: str, dataset: str, used: str) -> None:
    assert run.recipe_name(TrainOptions("ghn2", dataset, recipe)) == used


def test_recipes_for_other_numbers_of_images_are_refused() -> None:
    options = TrainOptions("ghn2", "digits", "ghn2")
    sentence = r"^the 210900 steps of ghn2 are for about 45000 training images, and digits has 1197; give --steps, or"
    with pytest.raises(InputError, match=sentence):
        run._check_images(RECIPES["ghn2"], options, 1197)
    run._check_images(RECIPES["ghn2"], replace(options, steps=10), 1197)
    run._check_images(RECIPES["ghn2"], options, 50_000)
    run._check_images(RECIPES["laptop"], options, 10**6)
    with pytest.raises(InputError, match="give --steps"):
        run.train(TrainOptions("ghn2", "digits", "ghn2", device="cpu"))


def test_ablations_are_options() -> None:
    """DeepNets paper, Table 8; GHN-3 paper, Tables 5 and 10."""
    options: dict[str, Any] = {"batch_size": 32, "weight_decay": 0.1, "num_architectures": 100, "average": 0.99}
    objective: dict[str, Any] = {"gamma": 0.0, "penalty": "square", "label_smoothing": 0.2}
    recipe = run._recipe(TrainOptions("ghn3_t", recipe="ghn3", validation_networks=500, **options, **objective), "cpu")
    expected = replace(RECIPES["ghn3"], **options, validation_networks=500)
    assert recipe == replace(expected, objective=replace(expected.objective, **objective))
    for name, value in (("gamma", -1.0), ("average", 1.0), ("num_architectures", 0), ("label_smoothing", -0.1)):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(InputError, match=f"^{name} is {value}; it must be "):
            run._recipe(TrainOptions("ghn3_t", **wrong), "cpu")


def test_penalties() -> None:
    tensors = [torch.tensor([3.0, 4.0]), torch.tensor([[2.0]])]
    assert _penalty(tensors, "norm").item() == 7
    assert _penalty(tensors, "square").item() == 29


def test_a_ghn_without_shape_encoding() -> None:
    ghn, plain = (create(name, 10, 32) for name in ("ghn2_no_shape_encoding", "ghn2"))
    shape = torch.tensor([[64, 3, 7, 7], [0, 0, 0, 0]])
    primitive = torch.tensor([4, 4])
    assert torch.equal(*ghn.encoding(primitive, shape))
    assert not torch.equal(*plain.encoding(primitive, shape))
    lost = sum(p.numel() for name, p in plain.encoding.named_parameters() if not name.startswith("primitive"))
    assert sum(p.numel() for p in plain.parameters()) - sum(p.numel() for p in ghn.parameters()) == lost
    content = ghn.config.to_file()
    assert content["shape_encoding"] is False
    assert GHNConfig.from_file(content) == ghn.config
    assert "shape_encoding" not in plain.config.to_file()  # as files of earlier versions
    assert GHNConfig.from_file(plain.config.to_file()) == plain.config
