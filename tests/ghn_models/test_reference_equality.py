"""GHNs against tensors that were measured on the public codes."""

import json
import warnings

import pytest
import torch
import torchvision

from ghn_models import GHN
from ghn_models.checkpoints.published import to_published
from ghn_models.registry import model_config
from tests.support.ghn_golden import difference, recorded, recorded_ghn, recorded_graph
from tests.support.paths import GOLDEN

PAIRS = [(name, network) for name, networks in recorded()["results"].items() for network in networks]


@pytest.mark.parametrize(("name", "network"), PAIRS)
@torch.no_grad()
def test_predictions_equal_the_reference(name: str, network: str) -> None:
    its = recorded()["results"][name][network]
    predicted = recorded_ghn(name).predict([recorded_graph(name, network)])[0]
    assert set(predicted) == set(its["params"]) - set(its["not_predicted"])
    worst = {parameter: difference(value, its["params"][parameter]) for parameter, value in predicted.items()}
    assert max(worst.values()) < 1e-5, max(worst, key=worst.__getitem__)


@pytest.mark.parametrize("network", ["resnet18", "mobilenet_v3_small", "vit_b_16", "convnext_tiny", "swin_t"])
def test_own_graphs_give_the_same(network: str) -> None:
    """`ghn(model)` traces, predicts and writes; parameters it leaves alone are those the reference leaves alone."""
    its = recorded()["results"]["ghn3_small_imagenet"][network]
    model = getattr(torchvision.models, network)()
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 123.0)
    ghn = recorded_ghn("ghn3_small_imagenet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ghn(model) is model
    assert set(ghn.kept) == set(its["not_predicted"])
    for name, parameter in model.named_parameters():
        if name in ghn.kept:
            assert (parameter == 123).all()
        else:
            assert difference(parameter.detach(), its["params"][name]) < 1e-5, name


@pytest.mark.parametrize("name", ["ghn2_c10_small", "ghn3_small_c10"])
def test_gradients_equal_the_reference(name: str) -> None:
    its, ghn = recorded()["gradients"][name], recorded_ghn(name)
    values = ghn.predict([recorded_graph(name, network) for network in its["archs"]])
    tensors = [value for network in values for value in network.values()]
    assert len(tensors) == its["n_tensors"]
    loss = torch.stack([(value**2).mean() for value in tensors]).mean()
    assert loss.item() == pytest.approx(its["loss"], rel=1e-5)
    names = list(dict(ghn.named_parameters()))
    gradients = dict(zip(names, torch.autograd.grad(loss, list(ghn.parameters())), strict=True))
    published = to_published(gradients, ghn.config)
    assert set(published) == set(its["grad"])
    for parameter, expected in its["grad"].items():
        # Attention does not change if all logits of a head do, so the gradient of this bias is rounding error.
        tolerance = 1e-7 if parameter.endswith("proj_e.2.bias") else 1e-5 * expected["norm"]
        computed = published[parameter]
        assert computed.norm().item() == pytest.approx(expected["norm"], abs=tolerance), parameter
        assert computed.flatten()[:8].tolist() == pytest.approx(expected["first"], abs=tolerance), parameter


@pytest.mark.parametrize("name", json.loads((GOLDEN / "ghn_state_dicts.json").read_text()))
def test_parameters_map_onto_the_published_ones(name: str) -> None:
    its = json.loads((GOLDEN / "ghn_state_dicts.json").read_text())[name]
    model, dataset = name.rsplit("_", 1)
    names = {"ghn2_mlpdec": "ghn2_mlp_decoder", "mlp_nodeco_ln": "mlp"}
    settings = model_config(names.get(model, model.lower()), *((10, 32) if dataset == "cifar10" else (1000, 224)))
    if not its["config"]["layernorm"]:
        settings = type(settings)(**{**vars(settings), "layer_norm": False})
    with torch.device("meta"):
        ghn = GHN(settings)
    assert sum(p.numel() for p in ghn.parameters()) == its["total"]
    assert {k: list(v.shape) for k, v in to_published(ghn.state_dict(), settings).items()} == its["params"]


PRINTED = {
    # GHN-3 paper, Tables 1, 5 and 11, in millions, for ImageNet.
    ("ghn2", 224): 2.32,
    ("ghn3_t", 224): 6.91,
    ("ghn3_s", 224): 35.81,
    ("ghn3_l", 224): 214.7,
    ("ghn3_xl", 224): 654.37,
    ("ghn3_t_no_backward", 224): 6.90,
    ("ghn3_t_no_edges", 224): 6.88,
    ("ghn3_t_mlp", 224): 6.74,
    ("ghn3_d32_2d", 224): 2.37,
    ("ghn3_t_no_centrality", 224): 6.89,
    ("ghn3_t_no_input_distance", 224): 6.84,
    ("ghn3_t_no_embeddings", 224): 6.80,
    ("ghn2_d128", 224): 34.73,
    ("ghn3_t_4d", 224): 38.86,
    # DeepNets paper, Table 8, for CIFAR-10.
    **{(name, 32): 1.6 for name in ("mlp", "ghn1", "ghn2", "ghn2_no_normalization", "ghn2_no_virtual_edges")},
    **{(name, 32): 1.6 for name in ("ghn2_no_layer_norm", "ghn2_t5", "ghn2_stacked", "ghn2_forward", "ghn2_fan_out")},
    ("ghn2_mlp_decoder", 32): 32,
}


@pytest.mark.parametrize(("name", "image_size"), PRINTED)
def test_parameter_counts_are_the_printed_ones(name: str, image_size: int) -> None:
    with torch.device("meta"):
        ghn = GHN(model_config(name, 1000 if image_size == 224 else 10, image_size))
    printed = PRINTED[name, image_size]
    digits = len(str(printed).partition(".")[2])
    assert round(sum(p.numel() for p in ghn.parameters()) / 1e6, digits) == printed
