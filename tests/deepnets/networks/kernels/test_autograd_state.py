"""Networks, whose layers have derivatives of their own, work with all ways to differentiate and to record networks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jvp, stack_module_state, vmap

from deepnets import Architecture, Genotype

CELL = (("sep_conv_5x5", 0), ("dil_conv_3x3", 1), ("skip_connect", 0), ("dil_conv_5x5", 2))
Way = Callable[[nn.Module, Tensor], list[Tensor]]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    genotype = Genotype(CELL, (2, 3), CELL, (2, 3))
    architecture = Architecture(genotype, n_cells=3, channels=16, norm=None, glob_avg=True)
    built: nn.Module = architecture.build(num_classes=3, image_size=32)
    built.to(memory_format=torch.channels_last)
    return built


def gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(model(images).sin().sum(), list(model.parameters()), materialize_grads=True))


def of_single_images(model: nn.Module, images: Tensor) -> list[Tensor]:
    def value(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, parameters, (image[None],))
        return logits.sin().sum()

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    return list(vmap(grad(value), (None, 0))(parameters, images).values())


def many_images(model: nn.Module, images: Tensor) -> list[Tensor]:
    return [vmap(lambda image: model(image[None]))(images)]


def many_networks(model: nn.Module, images: Tensor) -> list[Tensor]:
    parameters, buffers = stack_module_state([model, network(1)])
    return [vmap(lambda p, b: functional_call(model, (p, b), (images,)))(parameters, buffers)]


def forward_mode(model: nn.Module, images: Tensor) -> list[Tensor]:
    with forward_ad.dual_level():
        return [forward_ad.unpack_dual(model(forward_ad.make_dual(images, images.cos()))).tangent]


def product(model: nn.Module, images: Tensor) -> list[Tensor]:
    def value(x: Tensor) -> Tensor:
        logits: Tensor = model(x)
        return logits.sin().sum()

    return list(jvp(grad(value), (images,), (images.cos(),)))


def curvature(model: nn.Module, images: Tensor) -> list[Tensor]:
    return [hessian(lambda scale: model(scale * images).sin().sum())(torch.ones(2, 1, 1, 1))]


def batched(model: nn.Module, images: Tensor) -> list[Tensor]:
    logits = model(images)[0]
    directions = torch.eye(len(logits))
    parameters = list(model.parameters())
    return list(torch.autograd.grad(logits, parameters, directions, is_grads_batched=True, materialize_grads=True))


def symbolic(model: nn.Module, images: Tensor) -> list[Tensor]:
    return gradients(fx.symbolic_trace(model), images)


def traced(model: nn.Module, images: Tensor) -> list[Tensor]:
    return gradients(torch.jit.trace(model, images), images)


def exported(model: nn.Module, images: Tensor) -> list[Tensor]:
    return [torch.export.export(model, (images,)).module()(images)]


def compiled(model: nn.Module, images: Tensor) -> list[Tensor]:
    torch.compile(model, backend="aot_eager", fullgraph=True)(images).sin().sum().backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]


WAYS: list[Way] = [
    *(gradients, of_single_images, many_images, many_networks, forward_mode, product, curvature, batched),
    *(symbolic, traced, exported, compiled),
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore")
def test_results_are_those_of_pytorch(way: Way, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=layout)
    ours = way(network(), images)
    for module in ("convolution", "concatenation"):
        monkeypatch.setattr(f"deepnets.networks.kernels.{module}.is_recording", lambda x: False)
    torch.testing.assert_close(ours, way(network(), images), atol=1e-5, rtol=1e-3)


def test_half_precision() -> None:
    model = network()
    with torch.autocast("cpu", torch.bfloat16):
        grads = gradients(model, torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    assert [(x.shape, x.dtype) for x in grads] == [(p.shape, p.dtype) for p in model.parameters()]
