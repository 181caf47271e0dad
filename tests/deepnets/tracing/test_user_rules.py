"""Rules that users register for operators and autograd functions of their own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import deepnets.tracing
from deepnets import ArchGraph, trace
from deepnets.tracing import register
from deepnets.tracing.rules.registry import Operation
from deepnets.tracing.tape import Tape
from deepnets.tracing.values import Activation, Parametric, Value

A, B = ["a.weight", "a.bias"], ["b.weight", "b.bias"]


class Network(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.w = nn.Linear(8, 8), nn.Linear(6, 2), nn.Parameter(torch.rand(8, 6))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.b(self.function(self.a(x), self.w))


def names(graph: ArchGraph) -> list[str]:
    return [str(name) for name in graph.name]


def product(tape: Tape, call: Operation) -> Value | None:
    x, weight = (tape.value(argument) for argument in call.args)
    if not isinstance(x, Activation) or not isinstance(weight, Parametric):
        return None
    return tape.add_parameter_node("conv", [x], weight, shape=lambda size: size[::-1])


def empty_product(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[1])


class Product(torch.autograd.Function):
    """A kernel that PyTorch does not see."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() @ weight.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


def test_autograd_functions() -> None:
    model = Network(Product.apply)
    with pytest.raises(deepnets.TraceError, match="convert meta device type tensor to numpy"):
        trace(model, (8,))
    register(Product, outputs=empty_product)(product)
    model = Network(lambda x, weight: Product.apply(x, weight))
    for compute in (False, True):
        graph = trace(model, (8,), compute=compute)
        assert names(graph) == ["input", *A, "w", *B]
        assert graph.shape[3].tolist() == [6, 8, 1, 1]
        assert graph.report is not None
        assert graph.report.complete
    x = torch.rand(2, 8)
    torch.testing.assert_close(model(x), model.b(model.a(x) @ model.w))  # outside of traces it is what it was
    register(Product)(product)  # without results on the meta device, small models are run on numbers
    assert names(trace(model, (8,))) == ["input", *A, "w", *B]


@pytest.fixture(scope="module")
def operator() -> Any:
    with torch.library._scoped_library("deepnets_tests", "DEF") as library:
        library.define("mean(Tensor x, Tensor w) -> Tensor")
        library.impl("mean", lambda x, w: x @ w, "CPU")
        yield torch.ops.deepnets_tests.mean


def test_operators(operator: Any) -> None:
    """One with the name of an operation of PyTorch is something else."""
    model = Network(lambda x, w: operator(x, w))
    graph = trace(model, (8,))
    assert graph.report is not None
    assert graph.report.unnamed == {"w": "only used by the operation deepnets_tests::mean"}
    register("deepnets_tests::mean", outputs=empty_product)(product)
    for compute in (False, True):
        assert names(trace(model, (8,), compute=compute)) == ["input", *A, "w", *B]
    register(operator)(lambda tape, call: None)
    assert names(trace(model, (8,))) == ["input", *A, *B]


@pytest.mark.parametrize("target", ["scan", "::scan", nn.Linear, 3])
def test_other_targets_are_refused(target: Any) -> None:
    with pytest.raises(deepnets.TraceError.__base__, match="accepted: an operator, as in 'mylib::scan'"):
        register(target)


def test_rules_of_the_package_are_not_replaced() -> None:
    with pytest.raises(ValueError, match="addmm has a rule; accepted: an operator of your own"):
        register("aten::addmm")(product)
