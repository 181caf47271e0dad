"""The tables of published measurements."""

from importlib.resources import files

import numpy as np
import pytest

from deepnets.spaces.nasbench101 import nasbench101_truth
from deepnets.spaces.nasbench201 import nasbench201_proxies, nasbench201_truth
from deepnets.spaces.nasbench301 import nasbench301_truth
from deepnets.spaces.nasbench_macro import nasbench_macro_truth
from deepnets.spaces.registry import SPACES
from deepnets.spaces.tables import read_table
from deepnets.spaces.timm_weights import timm_truth, uses_more_than_imagenet1k

TABLES = {
    "nasbench101": nasbench101_truth.__wrapped__,
    "nasbench201": nasbench201_truth.__wrapped__,
    "nasbench301": nasbench301_truth.__wrapped__,
    "nasbench_macro": nasbench_macro_truth.__wrapped__,
    "timm": timm_truth.__wrapped__,
}
"""The tables, read again."""
SIZES = {"nasbench101": 500, "nasbench201": 15_625, "nasbench301": 725, "nasbench_macro": 6561, "timm": 1266}


@pytest.mark.parametrize("name", SPACES)
def test_truth(name: str) -> None:
    space = SPACES[name]
    truth, again = space.truth(), TABLES[name]()
    assert space.truth() is truth
    assert space.target in truth.names
    assert len(truth) == len(set(truth.keys)) == SIZES[name]
    assert truth.values.shape == (SIZES[name], len(truth.names))
    np.testing.assert_array_equal(truth.values, again.values)
    accuracies = [truth.column(column) for column in truth.names if "val" in column or "test" in column]
    assert all(((column > 0) & (column <= 100)).all() for column in accuracies)
    with pytest.raises(ValueError, match="there is no column 'loss'; choose from"):
        truth.column("loss")


def test_missing_measurements_are_nan() -> None:
    truth = timm_truth()
    assert int(np.isnan(truth.column("cpu_images_per_second")).sum()) == 90
    assert not np.isnan(truth.column("imagenet_top1")).any()
    row = truth.keys.index("resnet50.a1_in1k")
    assert truth.column("imagenet_top1")[row] == pytest.approx(81.24)
    assert truth.column("image_size")[row] == 288


@pytest.mark.parametrize(
    ("weights", "more"),
    [
        ("resnet50.a1_in1k", False),
        ("resnet50.fb_swsl_ig1b_ft_in1k", True),
        ("vit_base_patch16_224.augreg_in21k_ft_in1k", True),
        ("vit_base_patch16_224.augreg_in1k", False),
        ("convnext_base.clip_laion2b_augreg_ft_in1k", True),
        ("deit_base_distilled_patch16_224.fb_in1k", False),
        ("tf_efficientnet_b7.ns_jft_in1k", True),
        ("hgnet_base.ssld_in1k", True),
    ],
)
def test_more_than_imagenet1k(weights: str, more: bool) -> None:
    assert weights in timm_truth().keys
    assert uses_more_than_imagenet1k(weights) is more


def test_recorded_proxies() -> None:
    with pytest.raises(ValueError, match="there are no proxies for 'mnist'; choose from ImageNet16-120, cifar10"):
        nasbench201_proxies("mnist")
    proxies, truth = nasbench201_proxies("cifar10"), SPACES["nasbench201"].truth()
    rows = [truth.keys.index(key) for key in proxies.keys]
    # Two sources of the same accuracies: their means over seeds differ a little.
    ours = truth.column("cifar10_val")[rows]
    assert float(np.corrcoef(ours, proxies.column("val_accuracy"))[0, 1]) > 0.99


def test_tables_are_small_and_described() -> None:
    folder = files("deepnets.spaces").joinpath("data")
    tables = [file for file in folder.iterdir() if file.name.endswith(".csv.gz")]
    assert sum(len(file.read_bytes()) for file in tables) < 1_500_000
    described = folder.joinpath("README.md").read_text()
    for file in tables:
        assert file.name in described
        assert read_table(file.name.removesuffix(".csv.gz"))
