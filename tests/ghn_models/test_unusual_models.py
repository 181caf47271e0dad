"""Networks whose parameters cannot all be predicted: nothing is half written, what is kept has a reason."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from deepnets import trace
from ghn_models import GHN
from tests.support.small_ghns import KINDS


@pytest.fixture
def ghn() -> GHN:
    torch.manual_seed(0)
    return GHN(KINDS["ghn3"])


def classifier(*layers: nn.Module) -> Any:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


class Quantized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l, self.c = nn.Linear(8, 8), nn.Linear(8, 8, dtype=torch.cfloat)
        self.q = nn.Parameter(torch.randint(-8, 8, (10, 8), dtype=torch.int8), requires_grad=False)

    def forward(self, x: Tensor) -> Any:
        return self.c(self.l(x).to(torch.cfloat)).abs() @ self.q.float().t()


def test_integer_and_complex_parameters_are_kept(ghn: GHN) -> None:
    model = Quantized()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    kept = ghn.initialize(model, (8,))
    assert set(kept) == {"q", "c.weight", "c.bias"}
    assert kept["q"] == "its numbers are int8, not real ones"
    assert all(torch.equal(before[name], dict(model.named_parameters())[name]) for name in kept)
    assert not torch.equal(before["l.weight"], model.l.weight)


class Numbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.l = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)
        self.b, self.t = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Any:
        return self.l(self.t * nn.functional.normalize((self.c(x) + self.b).mean((2, 3)), dim=-1))


def test_numbers_are_kept(ghn: GHN) -> None:
    kept = ghn.initialize(Numbers(), 32)
    assert kept == {"b": "a number that is added to activations", "t": "a scale on activations"}


def test_an_error_leaves_the_network_as_it_is(ghn: GHN, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr("ghn_models.hypernetwork.bias_range", lambda _: 1 / 0)  # vectors come last
    with pytest.raises(ZeroDivisionError):
        ghn(model, 32)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_parameters_are_kept_as_asked_for(ghn: GHN) -> None:
    model = classifier(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    before = model[0].weight.detach().clone()
    assert ghn.initialize(model, 32, keep=["0.*"]) == dict.fromkeys(("0.weight", "0.bias"), "kept as asked for")
    assert torch.equal(model[0].weight, before)
    with pytest.raises(ValueError, match="keep has 'body', which is not the name of a parameter"):
        ghn(model, 32, keep="body")


def test_tables_of_many_rows_are_kept(ghn: GHN) -> None:
    """Their rows would repeat, and so different words would be the same."""
    for rows, is_kept in ((16, False), (17, True)):
        model: Any = nn.Sequential(nn.Embedding(rows, 8), nn.Flatten(), nn.Linear(8, 10))
        graph = trace(model, inputs=torch.zeros(2, 1, dtype=torch.long))
        kept = ghn.initialize(model, graph=graph)
        assert ("0.weight" in kept) is is_kept
        assert len(torch.unique(model[0].weight.detach(), dim=0)) == rows


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1)])
def test_norms_written_by_hand_are_predicted(ghn: GHN, shape: tuple[int, ...]) -> None:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.g, self.b = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))

        def forward(self, x: Tensor) -> Any:
            x = x - x.mean(1, keepdim=True)
            return x / torch.sqrt(x.pow(2).mean(1, keepdim=True) + 1e-6) * self.g + self.b

    model = classifier(nn.Conv2d(3, 8, 3), Norm())
    assert ghn.initialize(model, 32) == {}
    assert len(model[1].g.unique()) == 8


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(ghn: GHN, groups: int) -> None:
    """Scaled by the channels that they read, which are those that repeat on the input side."""
    model: Any = nn.Sequential(nn.ConvTranspose2d(64, 32, 2, 2, groups=groups), nn.Conv2d(32, 10, 1))
    graph = trace(model, (64, 8, 8))
    expected = ghn.predict([graph])[0]["0.weight"]  # (out, in / groups, h, w)
    assert ghn.initialize(model, graph=graph) == {}
    assert expected.shape == (32, 64 // groups, 2, 2)
    for group in range(groups):
        inside, outside = 64 // groups, 32 // groups
        weight = model[0].weight[group * inside : (group + 1) * inside]  # (in / groups, out / groups, h, w)
        torch.testing.assert_close(weight.transpose(0, 1), expected[group * outside : (group + 1) * outside])


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_spectral_norm_fits_the_predicted_weight(ghn: GHN, norm: Any) -> None:
    model = classifier(nn.Conv2d(3, 8, 3), norm(nn.Conv2d(8, 8, 3, padding=1))).eval()
    assert ghn.initialize(model, 32) == {}
    model(torch.randn(2, 3, 32, 32))
    assert torch.linalg.matrix_norm(model[1].weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_weight_norm_leaves_the_predicted_weight(ghn: GHN) -> None:
    plain = classifier(nn.Conv2d(3, 8, 3))
    model = classifier(parametrizations.weight_norm(nn.Conv2d(3, 8, 3)))
    assert ghn.initialize(plain, 32) == ghn.initialize(model, 32) == {}
    torch.testing.assert_close(model[0].weight, plain[0].weight)
