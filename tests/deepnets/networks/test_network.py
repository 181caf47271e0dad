"""Built networks: the parameters of the symbolic graph, and forward passes that do what the genotype says."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepnets import Architecture, Genotype, symbolic_graph
from deepnets.design_space.genotype import OPERATIONS, Edge
from deepnets.design_space.named_architectures import ARCHITECTURES, PDARTS, named_architecture
from deepnets.networks.layers import ChannelSqueezeExcite, DropPath, FactorizedReduce, MultiHeadSelfAttention, operation
from deepnets.networks.network import Network, plan_cells
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.splits import SPLITS

NO_PARAMETER = ("max_pool", "avg_pool")


def on_meta(architecture: Architecture, num_classes: int, image_size: int) -> Network:
    with torch.device("meta"):
        return Network(architecture, num_classes, image_size)


def check_parameters(architecture: Architecture, num_classes: int, image_size: int) -> Network:
    network = on_meta(architecture, num_classes, image_size)
    parameters = {name: tuple(p.shape) for name, p in network.named_parameters()}
    graph = symbolic_graph(architecture, image_size, num_classes)
    for name, shape in zip(graph.name.tolist(), graph.shape.tolist(), strict=True):
        if any(shape) and name not in NO_PARAMETER:
            # A positional encoding has four dimensions, the others as many as the layer needs.
            assert (*parameters[name], 1, 1, 1)[:4] == tuple(shape), name
    assert sum(p.numel() for p in network.parameters()) == architecture.num_params(image_size, num_classes)
    return network


def check_gradients(network: Network, logits: Tensor) -> None:
    """Every parameter that the output depends on, which is every node of the graph, has a finite gradient."""
    logits.square().mean().backward()
    grads = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert all(grad.isfinite().all() for grad in grads.values())
    graph = symbolic_graph(network.architecture)
    named = {name for name in graph.name.tolist() if "." in name}
    norms = {name.replace(".weight", ".bias") for name in grads} - named
    assert named <= set(grads)
    assert set(grads) - named <= norms


def architecture_of(*edges: Edge, concat: tuple[int, ...] = (2,), **fields: object) -> Architecture:
    """Four cells of these edges, narrow by default."""
    return Architecture(Genotype(edges, concat, edges, concat), **{"n_cells": 4, "channels": 16, **fields})


@pytest.mark.parametrize("image_size", [32, 224])
@pytest.mark.parametrize("split", SPLITS)
def test_parameters_are_those_of_the_symbolic_graph(split: str, image_size: int) -> None:
    networks = sample_networks(split, 0, 6, seed=8)
    table = networks.architectures(image_size)
    for row in range(len(table)):
        network = check_parameters(table[row], 7, image_size)
        if row < 2:
            images = torch.empty(2, 3, image_size, image_size, device="meta")
            assert network(images).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_parameters_of_many_networks(split: str) -> None:
    networks = sample_networks(split, 1000, 1040, seed=9)
    for row in range(len(networks.table)):
        for image_size in (32, 224):
            network = check_parameters(networks.table[row], 10, image_size)
            assert network(torch.empty(2, 3, image_size, image_size, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("split", ["train", "dense", "bnfree", "search"])
def test_forward_and_backward(split: str) -> None:
    networks = sample_networks(split, 0, 60, seed=2)
    smallest = networks.num_params(32).argsort()[:3]
    torch.manual_seed(0)
    for row in smallest.tolist():
        network = Network(dataclasses.replace(networks.table[row], channels=16))
        logits = network(torch.randn(4, 3, 32, 32))
        assert logits.shape == (4, 10)
        check_gradients(network, logits)


@pytest.mark.parametrize("name", ["vit", "resnet18"])
def test_forward_and_backward_at_224(name: str) -> None:
    network = Network(dataclasses.replace(named_architecture(name), n_cells=3, channels=16), 5, 224)
    logits = network(torch.randn(2, 3, 224, 224))
    assert logits.shape == (2, 5)
    check_gradients(network, logits)


@pytest.mark.parametrize("n_cells", [1, 2, 6])
@pytest.mark.parametrize("stem", [(0, False), (0, True), (1, False)])
@pytest.mark.parametrize("preproc", [False, True])
def test_heads_without_pooling_fit_every_stem(n_cells: int, stem: tuple[int, bool], preproc: bool) -> None:
    architecture = architecture_of(
        *(("conv_3x3", 0), ("cse", 1)),
        n_cells=n_cells,
        stem_type=stem[0],
        stem_pool=stem[1],
        preproc=preproc,
        C_mult=2 if preproc else 1,
        glob_avg=False,
        fc_layers=2,
    )
    for image_size in (32, 224):
        network = check_parameters(architecture, 3, image_size)
        assert network(torch.empty(2, 3, image_size, image_size, device="meta")).shape == (2, 3)


def test_no_batch_norm_in_networks_without_norm() -> None:
    networks = sample_networks("bnfree", 0, 20, seed=1)
    for row in range(20):
        network = on_meta(networks.table[row], 10, 32)
        assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def test_a_cell_computes_its_genotype() -> None:
    edges = (("conv_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("none", 0), ("msa", 3), ("cse", 2))
    network = Network(architecture_of(*edges, concat=(2, 3, 4), n_cells=1)).eval()
    cell: Any = network.cells[0]
    x = torch.randn(2, 16, 11, 11)
    s0, s1 = cell.preprocess0(x), cell.preprocess1(x)
    s2 = cell._ops["0"](s0) + F.max_pool2d(s1, 3, 1, 1)
    expected = torch.cat([s2, s2, cell._ops["4"](s2) + cell._ops["5"](s2)], dim=1)
    torch.testing.assert_close(cell(x, x), expected)


def test_attention_equals_torch_transformer_layer() -> None:
    ours = MultiHeadSelfAttention(32)
    theirs = nn.TransformerEncoderLayer(32, 8, 32, dropout=0.0, activation="gelu", norm_first=True, batch_first=True)
    twins = {
        "self_attn.in_proj_weight": ours.to_qkv.weight,
        "self_attn.in_proj_bias": torch.zeros(96),
        **{f"self_attn.out_proj.{k}": v for k, v in ours.to_out[0].named_parameters()},
        **{f"linear1.{k}": v for k, v in ours.ff.net[0].named_parameters()},
        **{f"linear2.{k}": v for k, v in ours.ff.net[3].named_parameters()},
        **{f"norm1.{k}": v for k, v in ours.ln1.named_parameters()},
        **{f"norm2.{k}": v for k, v in ours.ln2.named_parameters()},
    }
    theirs.load_state_dict(twins)
    x = torch.randn(2, 32, 5, 7)
    expected = theirs(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(ours(x), expected)


def test_factorized_reduction_sees_even_and_odd_pixels() -> None:
    layer = FactorizedReduce(1, 2, norm=None)
    nn.init.ones_(layer.conv_1.weight)
    nn.init.ones_(layer.conv_2.weight)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(x)[0].tolist() == [[[0, 2], [8, 10]], [[5, 7], [13, 15]]]


def test_squeeze_and_excitation_scales_channels() -> None:
    layer = ChannelSqueezeExcite(8, stride=2)
    x = torch.randn(3, 8, 6, 6)
    gate = F.hardswish(layer.fc2(layer.fc1(x.mean((2, 3))).relu()))
    torch.testing.assert_close(layer(x), (x * gate[..., None, None])[..., ::2, ::2])


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op not in ("none", "msa")])
@pytest.mark.parametrize("stride", [1, 2])
def test_operations_change_size_by_their_stride_only(op: str, stride: int) -> None:
    layer = operation(op, 8, 8, stride, "bn").eval()
    assert layer(torch.randn(2, 8, 16, 16)).shape == (2, 8, 16 // stride, 16 // stride)
    if op in ("avg_pool_3x3", "max_pool_3x3"):
        assert (layer(torch.ones(2, 8, 16, 16)) == 1).all()
    if "conv" in op:  # a constant map stays constant away from the border
        inside = layer(torch.ones(2, 8, 64, 64))[..., 8:-8, 8:-8]
        torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside))


def test_dilation_reaches_farther() -> None:
    torch.manual_seed(0)
    x = torch.zeros(1, 8, 17, 17)
    x[..., 8, 8] = 1
    reach = {}
    for op in ("conv_3x3", "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7"):
        touched = (operation(op, 8, 8, 1, None)(x) != 0).any(dim=1)[0].nonzero()
        reach[op] = (touched[:, 0].max() - 8).item(), (touched[:, 1].max() - 8).item()
    expected = {"conv_3x3": 1, "sep_conv_3x3": 2, "dil_conv_3x3": 2, "dil_conv_5x5": 4, "conv_7x1_1x7": 3}
    assert reach == {op: (pixels, pixels) for op, pixels in expected.items()}


def test_absent_states_are_zeros_in_the_concatenation() -> None:
    edges = (("none", 0), ("none", 1), ("conv_3x3", 1), ("cse", 2), ("sep_conv_3x3", 2), ("none", 0))
    architecture = architecture_of(*edges, concat=(2, 3, 4))
    network = Network(architecture).train()
    cell = network.cells[0]
    assert [sorted(plan.sums) for plan in plan_cells(architecture, 48)] == [[3]] * 4
    x = torch.randn(2, 48, 8, 8)
    output = cell(x, x)
    assert output.shape == (2, 48, 8, 8)
    assert not output[:, :16].any()
    assert output[:, 16:32].any()
    assert not output[:, 32:].any()
    check_parameters(architecture, 10, 32)
    check_gradients(network, network(torch.randn(2, 3, 32, 32)))


def test_cells_without_output_are_absent_inputs_of_the_next() -> None:
    normal, reduce = (("conv_3x3", 0), ("sep_conv_3x3", 1)), (("none", 0), ("none", 1))
    genotype = Genotype(normal, (2,), reduce, (2,))
    architecture = Architecture(genotype, n_cells=7, channels=16, glob_avg=False)
    plans = plan_cells(architecture, 48)
    assert [plan.output_present for plan in plans] == [True, True, False, True, False, True, True]
    assert plans[3].inputs_present == (True, False)
    network = check_parameters(architecture, 10, 32)
    assert network.cells[2](torch.empty(2, 16, 8, 8, device="meta"), torch.empty(2, 16, 8, 8, device="meta")) is None
    trained = Network(architecture)
    check_gradients(trained, trained(torch.randn(2, 3, 32, 32)))
    with pytest.raises(ValueError, match="cell 4 has no output that an auxiliary head could read"):
        Network(architecture, auxiliary=True)


def test_unneeded_states_are_not_run() -> None:
    edges = (("conv_3x3", 0), ("conv_3x3", 1), ("none", 0), ("cse", 1))
    network = Network(architecture_of(*edges, concat=(3,)))
    cell: Any = network.cells[0]
    assert cell.plan.sums == {3: [3]}
    assert cell.plan.inputs_read == {1}
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert cell._ops["0"].op[1].weight.grad is None
    assert cell.preprocess0.op[1].weight.grad is None


def test_predicted_parameters_on_a_network_without_storage() -> None:
    architecture = architecture_of(("sep_conv_3x3", 0), ("msa", 1))
    real, images = Network(architecture), torch.randn(3, 3, 32, 32)
    predicted = {name: p.detach().requires_grad_() for name, p in real.named_parameters()}
    logits = torch.func.functional_call(on_meta(architecture, 10, 32), predicted | dict(real.named_buffers()), images)
    torch.testing.assert_close(logits, real(images))
    logits.sum().backward()
    assert all(p.grad is not None for p in predicted.values())


def test_drop_path_preserves_the_mean_and_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    layer, x = DropPath(0.3), torch.ones(20_000, 2, 1, 1)
    dropped = layer(x)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (dropped[:, 0] == dropped[:, 1]).all()
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert layer.eval()(x) is x
    assert DropPath()(x) is x


def test_drop_path_spares_identities() -> None:
    torch.manual_seed(0)
    architecture = architecture_of(("skip_connect", 0), ("max_pool_3x3", 1), n_cells=1)
    network = Network(architecture, drop_path=0.5)
    cell: Any = network.cells[0]
    x = torch.randn(64, 48, 4, 4)
    identity, pooled = cell.preprocess0(x), cell._ops["1"](cell.preprocess1(x))
    dropped = (cell(x, x) - identity) / pooled
    per_sample = torch.stack([dropped.amin(dim=(1, 2, 3)), dropped.amax(dim=(1, 2, 3))])
    torch.testing.assert_close(per_sample[0], per_sample[1], atol=1e-3, rtol=0)
    assert set(per_sample[0].round().tolist()) == {0, 2}
    network.drop_path.p = 0.0
    torch.testing.assert_close(cell(x, x), identity + pooled)
    network.drop_path.p = 0.9
    images = torch.randn(4, 3, 32, 32)
    assert not network(images).equal(network(images))
    assert network.eval()(images).equal(network(images))


@pytest.mark.parametrize(("image_size", "norm"), [(32, "bn"), (224, "bn"), (224, None)])
def test_auxiliary_head(image_size: int, norm: str | None) -> None:
    architecture = architecture_of(("max_pool_3x3", 0), ("conv_1x1", 1), n_cells=6, norm=norm, stem_type=1)
    plain = Network(architecture, 7, image_size)
    network = Network(architecture, 7, image_size, auxiliary=True)
    extra = {name for name in dict(network.named_parameters()) if name.startswith("auxiliary_head.")}
    assert set(dict(network.named_parameters())) - extra == set(dict(plain.named_parameters()))
    norms = [m for m in network.auxiliary_head.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == (0 if norm is None else 2 if image_size == 32 else 1)
    logits, auxiliary = network(torch.randn(2, 3, image_size, image_size))
    assert logits.shape == auxiliary.shape == (2, 7)
    auxiliary.sum().backward()
    cells: Any = network.cells
    assert cells[4]._ops["1"].op[1].weight.grad is not None
    assert cells[5]._ops["1"].op[1].weight.grad is None
    assert network.eval()(torch.randn(2, 3, image_size, image_size)).shape == (2, 7)


def test_named_architectures() -> None:
    for name in ARCHITECTURES:
        for image_size in (32, 224):
            network = check_parameters(named_architecture(name), 10, image_size)
            assert network(torch.empty(2, 3, image_size, image_size, device="meta")).shape == (2, 10)
    # The DARTS code reports 4.718752M parameters, Table 1 of the DeepNets-1M paper 1.0M for ViT.
    assert named_architecture("darts").num_params(224, 1000) == 4_718_752
    assert round(named_architecture("vit").num_params() / 1e6, 1) == 1.0
    check_parameters(Architecture(PDARTS, n_cells=20, channels=40), 10, 32)


def test_errors() -> None:
    conv_pair = (("conv_3x3", 0), ("conv_3x3", 1))
    with pytest.raises(ValueError, match="does not reach its output"):
        Network(architecture_of(("none", 0), ("none", 1)))
    with pytest.raises(ValueError, match="image_size is 64; architectures are defined for 32 and 224"):
        Network(architecture_of(*conv_pair), image_size=64)
    with pytest.raises(ValueError, match=r"drop_path is 1\.0; accepted"):
        Network(architecture_of(*conv_pair), drop_path=1.0)
    with pytest.raises(ValueError, match="glob_avg is False in a network with attention"):
        architecture_of(("msa", 0), ("conv_3x3", 1), glob_avg=False)
    with pytest.raises(ValueError, match="skip_connect reads 16 channels in a cell of width 32"):
        Network(dataclasses.replace(named_architecture("resnet18"), channels=16, C_mult=2))
    accepted = "darts, darts_cifar, pdarts_cifar, vit, resnet18, resnet50"
    with pytest.raises(ValueError, match=f"there is no architecture 'alexnet'; accepted: {accepted}"):
        named_architecture("alexnet")


def test_cells_that_nothing_reads_are_skipped() -> None:
    """Their parameters have no gradient, and the output does not change when they do."""
    architecture = sample_networks("wide", 71, 72).table[0]
    network = dataclasses.replace(architecture, channels=32).build(10, 32).eval()
    assert network.live_cells < set(range(architecture.n_cells))
    images = torch.randn(2, 3, 32, 32)
    calls: list[int] = []
    for number, cell in enumerate(network.cells):
        cell.register_forward_hook(lambda *_, number=number: calls.append(number))
    network(images).sum().backward()
    read = set(calls)
    assert read == network.live_cells
    everything = network(images)
    network.live_cells = frozenset(range(architecture.n_cells))
    assert torch.equal(network(images), everything)
    for number, cell in enumerate(network.cells):
        assert (number in read) == any(p.grad is not None for p in cell.parameters())
