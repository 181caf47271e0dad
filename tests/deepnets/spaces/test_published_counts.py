"""Parameter counts, operations and optima of the spaces against the published tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from deepnets.networks.skip_init import on_meta_without_init
from deepnets.spaces.chain import chain_num_params
from deepnets.spaces.nasbench101 import nasbench101_proxies
from deepnets.spaces.nasbench201 import nasbench201_proxies, nasbench201_truth
from deepnets.spaces.nasbench301 import nasbench301_proxies
from deepnets.spaces.registry import SPACES
from deepnets.spaces.tables import Truth, read_table

PROXIES: dict[str, tuple[str, Callable[[], Truth], int]] = {
    "nasbench101": ("nasbench101", nasbench101_proxies, 10),
    "nasbench201, CIFAR-10": ("nasbench201", lambda: nasbench201_proxies("cifar10"), 10),
    "nasbench201, CIFAR-100": ("nasbench201", lambda: nasbench201_proxies("cifar100"), 100),
    "nasbench201, ImageNet16-120": ("nasbench201", lambda: nasbench201_proxies("ImageNet16-120"), 120),
    "nasbench301": ("nasbench301", nasbench301_proxies, 10),
}
ROWS = {"nasbench101": 500, "nasbench201, ImageNet16-120": 724}
# Kendall's tau between the columns of NAS-Bench-Suite-Zero and accuracy (params, flops).
TAU = {
    "nasbench101": (0.518, 0.520),
    "nasbench201, CIFAR-10": (0.562, 0.520),
    "nasbench201, CIFAR-100": (0.569, 0.531),
    "nasbench201, ImageNet16-120": (0.544, 0.506),
    "nasbench301": (0.367, 0.336),
}


def num_params(space: str, key: str, num_classes: int = 10) -> int:
    """Number of parameters by the space's own rules, with another number of classes."""
    chain = SPACES[space].chain
    assert chain is not None
    blocks = chain(key, 10)
    head = blocks[-1].block
    return chain_num_params(blocks) + (num_classes - 10) * (int(head.shape[-2, 1]) + 1)


@pytest.mark.parametrize("name", PROXIES)
def test_parameters_equal_the_table(name: str) -> None:
    space, proxies, num_classes = PROXIES[name]
    table = proxies()
    assert len(table) == ROWS.get(name, 725)
    counted = [num_params(space, key, num_classes) for key in table.keys]
    written = [float(f"{count / 1e6:.6g}") for count in counted]  # the table has six digits
    assert written == table.column("params").tolist()
    tau = kendalltau(counted, table.column("val_accuracy")).statistic
    assert tau == pytest.approx(TAU[name][0], abs=0.001)
    tau = kendalltau(table.column("flops"), table.column("val_accuracy")).statistic
    assert tau == pytest.approx(TAU[name][1], abs=0.001)


def test_parameters_of_macro_equal_the_table() -> None:
    space, table = SPACES["nasbench_macro"], read_table("nas_bench_macro")
    assert space.chain is not None
    counted = [chain_num_params(space.chain(key, 10)) for key in space.truth().keys]
    assert len(counted) == 3**8
    assert counted == list(map(int, table["params"]))


class _ReLUs(TorchFunctionMode):
    """Counts the elements of ReLUs that are called as functions."""

    elements = 0

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.relu, nn.functional.relu6):
            self.elements += out.numel()
        return out


def table_flops(model: nn.Module) -> int:
    """Operations in the convention of NAS-Bench-Suite-Zero.

    Multiply-adds of convolutions and linear layers, one operation for each element of a ReLU, two for each element of
    a batch norm with parameters (one without), and the area of the window for each element of a pooled map.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        match module:
            case nn.Conv2d():
                total += output.numel() * module.weight[0].numel()
            case nn.Linear():
                total += output.numel() * module.in_features
            case nn.BatchNorm2d():
                total += (2 if module.affine else 1) * output.numel()
            case nn.AvgPool2d() | nn.MaxPool2d():
                side = module.kernel_size
                assert isinstance(side, int)
                total += output.numel() * side**2

    for module in model.modules():
        module.register_forward_hook(count)
    with _ReLUs() as relus:
        model.eval()(torch.empty(1, 3, 32, 32, device="meta"))
    return int(total + relus.elements)


def built(space: str, key: str) -> nn.Module:
    with on_meta_without_init():
        return SPACES[space].build(key, 10)


def test_flops_of_nasbench201_equal_the_table() -> None:
    # The table counts edges that read zeros as well, so all edges are added up here.
    around = table_flops(built("nasbench201", "111111"))
    maps = [(16, 32 * 32), (32, 16 * 16), (64, 8 * 8)]
    elements = 5 * sum(width * area for width, area in maps)
    squares = 5 * sum(width**2 * area for width, area in maps)
    edge = {"2": 9 * squares + 3 * elements, "3": squares + 3 * elements, "4": 9 * elements}
    for dataset, (_, expected) in zip(("cifar10", "cifar100", "ImageNet16-120"), list(TAU.values())[1:4], strict=True):
        table = nasbench201_proxies(dataset)
        ours = np.array([around + sum(edge.get(digit, 0) for digit in key) for key in table.keys])
        assert kendalltau(ours, table.column("val_accuracy")).statistic == pytest.approx(expected, abs=0.005)
        if dataset == "cifar10":
            np.testing.assert_allclose(ours, 1e6 * table.column("flops"), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "every"),
    [
        *(pytest.param(name, 50, id=name) for name in ("nasbench101", "nasbench301")),
        *(pytest.param(name, 1, id=f"{name}-all", marks=pytest.mark.slow) for name in ("nasbench101", "nasbench301")),
    ],
)
def test_flops_equal_the_table(name: str, every: int) -> None:
    table = PROXIES[name][1]()
    ours = np.array([table_flops(built(name, key)) for key in table.keys[::every]])
    np.testing.assert_allclose(ours, 1e6 * table.column("flops")[::every], rtol=0.01)
    if every == 1:
        tau = kendalltau(ours, table.column("val_accuracy")).statistic
        assert tau == pytest.approx(TAU[name][1], abs=0.005)


def test_flops_of_macro_order_networks_as_the_table() -> None:
    truth = SPACES["nasbench_macro"].truth()
    rows = range(0, len(truth), 200)
    ours = [table_flops(built("nasbench_macro", truth.keys[row])) for row in rows]
    assert kendalltau(ours, truth.column("flops")[rows]).statistic > 0.98


def test_known_optima() -> None:
    table = nasbench201_truth()
    best = [round(float(table.column(f"{name}_test").max()), 2) for name in ("cifar10", "cifar100", "imagenet16")]
    assert best == [94.37, 73.51, 47.31]  # Dong and Yang (2020), table 5
    key = table.keys[int(table.column("cifar10_test").argmax())]
    assert chain_num_params(SPACES["nasbench201"].chain(key, 10)) > 1_000_000  # type: ignore[misc]
    assert num_params("nasbench201", "433323") == 428_346
    macro = SPACES["nasbench_macro"].truth()
    assert float(macro.column("cifar10_test").max()) == pytest.approx(93.13, abs=0.005)
    assert float(SPACES["nasbench101"].truth().values.max()) == pytest.approx(94.712)
