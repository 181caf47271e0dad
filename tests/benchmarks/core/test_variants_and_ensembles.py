"""Variants of torchvision's networks, ensembles, and parameters of huge networks within bounded memory."""

import subprocess
import sys
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.core import accuracy
from benchmarks.core.ensemble import Ensemble, members
from benchmarks.core.evaluation_networks import EvaluationNetwork, networks_in
from benchmarks.core.protocol import Case
from benchmarks.core.torchvision_networks import torchvision_network
from benchmarks.execution.jobs import evaluate
from benchmarks.execution.run_config import Job, RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.protocols import finetune, no_finetune, transfer
from benchmarks.scoring.scorers import by_accuracy
from deepnets import trace
from deepnets.networks.pooled_vit import PooledViT
from deepnets.networks.torchvision_variants import VARIANTS
from ghn_models.images.datasets import load_images

_FILL = """
import sys, time, warnings, torch, ghn_models
from benchmarks.execution import memory
from deepnets.networks.torchvision_variants import VARIANTS
warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
ghn = ghn_models.create("ghn3_t")
with torch.device("meta"):
    model = VARIANTS[sys.argv[1]](1000)
model.to_empty(device="cpu")  # no page is in memory before it is written
before = memory.peak()
start = time.perf_counter()
ghn(model)
seconds = time.perf_counter() - start
peak = memory.peak()
assert not ghn.kept, ghn.kept
assert all(torch.isfinite(p).all() for p in model.parameters())
print(peak - before, peak, 4 * sum(p.numel() for p in model.parameters()), seconds)
"""

SUBJECT = EvaluationNetwork("test", 0, "test/0")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet1000", "vit_1_2b"])
def test_huge_networks_need_little_more_than_their_parameters(name: str) -> None:
    """ghn3_t with random weights; the process has 0.8 GB before."""
    done = subprocess.run([sys.executable, "-c", _FILL, name], capture_output=True, text=True, check=True)
    growth, peak, parameters, seconds = map(float, done.stdout.split())
    print(
        f"{name}: {parameters / 1e9:.2f} GB of parameters, {growth / 1e9:.2f} more ({peak / 1e9:.2f}), {seconds:.1f} s"
    )
    assert growth < 1.2 * parameters


@pytest.mark.parametrize("name", [n for n in VARIANTS if n != "resnet1000"])  # which takes seconds, and is filled above
def test_variants_are_traced_completely(name: str) -> None:
    with torch.device("meta"):
        network = VARIANTS[name](1000)
    graph = trace(network)
    assert graph.report is not None
    assert graph.report.unnamed == {}
    assert graph.report.absorbed.keys() | set(graph.name) >= dict(network.named_parameters()).keys()


def test_sizes_of_variants() -> None:
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in build(1000).parameters()) for name, build in VARIANTS.items()}
        plain = {name: torchvision_network(name, 224, 1000) for name in ("vit_b_16", "efficientnet_b0", "resnet50")}
        layers = [m for m in VARIANTS["resnet1000"](1000).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    sizes = {name: sum(p.numel() for p in network.parameters()) for name, network in plain.items()}
    assert counts["resnet1000"] > 400e6
    assert counts["vit_1_2b"] > 1.2e9
    assert len(layers) - 4 == 1001  # but for projections
    assert counts["vit_b_16_gap"] == sizes["vit_b_16"] - 2 * 768  # class token and its position
    assert counts["efficientnet_b0_relu"] == sizes["efficientnet_b0"]
    norms = [m for m in plain["resnet50"].modules() if isinstance(m, nn.BatchNorm2d)]
    assert counts["resnet50_bnfree"] == sizes["resnet50"] - sum(2 * m.num_features for m in norms)
    assert not any(isinstance(m, nn.SiLU) for m in VARIANTS["efficientnet_b0_relu"](10).modules())


def test_pooled_tokens_have_no_order() -> None:
    """Without a class token and positions, the pooled output does not depend on the order of patches."""
    torch.manual_seed(0)
    options = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    network = PooledViT(32, **options, num_classes=5).eval()
    nn.init.normal_(network.heads.head.weight)  # torchvision's are 0
    nn.init.zeros_(network.encoder.pos_embedding)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(x), network(x.roll(8, 2)))
        assert not torch.allclose(network(x), network(x.roll(3, 2)), atol=1e-3)


@pytest.mark.parametrize("name", ["vit_b_16_gap", "resnet50_bnfree"])
def test_variants_read_small_images(name: str) -> None:
    network, graph = networks_in(name)[0].build(32, 10)
    assert graph is None
    assert len(trace(network, 32)) > 50
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert first.stride == ((4, 4) if name.startswith("vit") else (1, 1))


# Ensembles


def small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(392, 10))


def test_an_ensemble_averages_logits() -> None:
    networks = [small(0), small(1)]
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(Ensemble(networks)(x), (networks[0](x) + networks[1](x)) / 2)
    assert members(Ensemble(networks)) == networks
    assert members(networks[0]) == [networks[0]]


def test_members_of_an_ensemble_are_trained_alone() -> None:
    """With one learning rate, the members end as they do on their own, and their logits are averaged."""
    digits = load_images("digits")
    settings = finetune.FinetuneConfig(epochs=0.3, lrs=(0.05,))
    together = Ensemble([small(0), small(1)])
    trained: list[nn.Module] = []
    with pytest.MonkeyPatch.context() as patch:
        real = accuracy.topk_accuracy

        def recording(
            model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], running: bool = False
        ) -> tuple[float, float]:
            trained.append(model)
            return real(model, batches, running)

        patch.setattr(accuracy, "topk_accuracy", recording)
        for model in (together, small(0), small(1)):
            finetune.Finetune().evaluate(Case(model, digits, 128, 5, SUBJECT, by_accuracy), settings)
    ensemble, first, second = trained[::2]
    for member, alone in zip(members(ensemble), (first, second), strict=True):
        assert all(map(torch.equal, member.parameters(), alone.parameters()))
    few = transfer.TransferConfig(labels_per_class=5, epochs=(1,), lrs=(0.1,), weight_decays=(1e-4,))
    result = transfer.Transfer().evaluate(Case(together, digits, 16, 0, SUBJECT, by_accuracy), few)
    assert 0 <= float(result["top1"]) <= 1


def test_ensembles_are_named_by_their_members() -> None:
    name = "squeezenet1_1+resnet18"
    plan = RunConfig("no_finetune", no_finetune.NoFinetuneConfig(), "he", "digits", (name,))
    assert plan.jobs() == [Job(name, 0, 0)]
    row = evaluate(load_run_context(plan), Job(name, 0, 0))
    assert (row.status, row.reason, row.name) == ("ok", "", name)
    counts = [sum(p.numel() for p in torchvision_network(n, 32, 10).parameters()) for n in name.split("+")]
    assert row.params == sum(counts)
    with pytest.raises(ValueError, match=r"there are no networks 'resnet18\+test'"):
        networks_in("resnet18+test")
