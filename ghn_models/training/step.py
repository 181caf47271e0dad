"""One step: predict the parameters of a meta-batch, run its networks, and bring their gradients back to the GHN."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from ghn_models.hypernetwork import GHN
from ghn_models.training.architecture_pool import TrainingNetwork

Batch = tuple[Tensor, Tensor]
"""Images (B, 3, H, W) and labels (B,)."""


# Messages of the system, PyTorch and C++; of CUDA and its libraries; and of oneDNN, which gives no reason.
_OUT_OF_MEMORY = (
    *("can't allocate memory", "Cannot allocate memory", "bad_alloc"),
    *("out of memory", "ALLOC_FAILED", "could not create a primitive"),
)


@dataclass(frozen=True)
class LossConfig:
    """The loss that a GHN minimizes for each network (GHN-3 paper, Eq. 10), and how it is computed.

    Args:
        gamma: weight of the penalty on predicted tensors.
        penalty: the sum of their L2 norms, or of their squares (GHN-3 paper, Table 5).
        label_smoothing: of the cross entropy.
        network_clip: the gradient norm of each network, with respect to its parameters, is clipped to this. Networks
            without batch norm may have one a hundred times larger than others, which would not count beside them.
        amp: networks run in bfloat16.
    """

    gamma: float = 0.0
    penalty: Literal["norm", "square"] = "norm"
    label_smoothing: float = 0.0
    network_clip: float | None = None
    amp: bool = False


@dataclass
class StepStats:
    """Losses and accuracies of the networks of a meta-batch, and how many were left out.

    Args:
        losses, accuracies: of each network that was used.
        non_finite: networks left out because of their loss or gradient.
        out_of_memory: networks left out because they did not fit.
    """

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    non_finite: int = 0
    out_of_memory: int = 0

    def add(self, other: "StepStats") -> None:
        """Add the statistics of further networks."""
        self.losses += other.losses
        self.accuracies += other.accuracies
        self.non_finite += other.non_finite
        self.out_of_memory += other.out_of_memory


def accumulate(
    ghn: GHN,
    networks: Sequence[TrainingNetwork],
    batches: Sequence[Batch],
    seeds: Sequence[int],
    objective: LossConfig,
    weight: float,
) -> StepStats:
    """Add the gradient of `weight` times the sum of losses to those of the GHN's parameters.

    A meta-batch that does not fit into memory is retried network by network; a network that does not fit alone is left
    out.

    Args:
        ghn: the GHN.
        networks: the meta-batch.
        batches: images and labels for each network.
        seeds: of the dropout of each network.
        objective: the loss.
        weight: factor of each loss.
    """
    try:
        return _accumulate(ghn, networks, batches, seeds, objective, weight)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    ghn.zero_grad()
    stats = StepStats()
    for network, batch, seed in zip(networks, batches, seeds, strict=True):
        before = [None if p.grad is None else p.grad.clone() for p in ghn.parameters()]
        try:
            stats.add(_accumulate(ghn, [network], [batch], [seed], objective, weight))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            stats.out_of_memory += 1
            for parameter, gradient in zip(ghn.parameters(), before, strict=True):
                parameter.grad = gradient
    return stats


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that the GPU or the CPU is out of memory; if so, free PyTorch's cache."""
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def _accumulate(
    ghn: GHN,
    networks: Sequence[TrainingNetwork],
    batches: Sequence[Batch],
    seeds: Sequence[int],
    objective: LossConfig,
    weight: float,
) -> StepStats:
    predicted = ghn.predict([n.graph for n in networks], [n.module for n in networks])
    stats = StepStats()
    values: list[Tensor] = []
    gradients: list[Tensor] = []
    # Each network is differentiated by itself with respect to its parameters, so that its activations are freed before
    # the next one runs, and a bad one can be left out.
    for network, parameters, (images, labels), seed in zip(networks, predicted, batches, seeds, strict=True):
        torch.manual_seed(seed)
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        logits = run(network.module, leaves, images, objective.amp)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=objective.label_smoothing)
        if objective.gamma:
            loss = loss + objective.gamma * _penalty(leaves.values(), objective.penalty)
        network_gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        norm = torch.nn.utils.get_total_norm(network_gradients)
        if not torch.isfinite(loss + norm):
            stats.non_finite += 1
            continue
        clip = objective.network_clip
        scale = weight if clip is None or norm <= clip else weight * clip / norm.item()
        values += parameters.values()
        gradients += [scale * gradient for gradient in network_gradients]
        stats.losses.append(loss.item())
        stats.accuracies.append((logits.argmax(1) == labels).float().mean().item())
    if values:
        torch.autograd.backward(values, gradients)
    return stats


def _penalty(tensors: Iterable[Tensor], kind: Literal["norm", "square"]) -> Tensor:
    norms = torch.stack([tensor.norm() for tensor in tensors])
    return norms.sum() if kind == "norm" else norms.square().sum()


def run(module: nn.Module, parameters: dict[str, Tensor], images: Tensor, amp: bool = False) -> Tensor:
    """Return the logits of a network with predicted parameters; parameters without a prediction are zero.

    Args:
        module: the network.
        parameters: predicted parameters by name.
        images: (B, 3, H, W).
        amp: compute in bfloat16. On CPUs everything but norms is converted once: autocast converts the input and
            the weight of every convolution again, and leaves slow layouts and kernels between them.
    """
    rounded = amp and images.device.type == "cpu"
    values = {}
    for prefix, layer in module.named_modules():
        exact = not rounded or isinstance(layer, _BatchNorm | nn.LayerNorm)
        for name, parameter in layer.named_parameters(prefix, recurse=False):
            value = parameters.get(name)
            value = torch.zeros(parameter.shape, device=images.device) if value is None else value
            # With channels last, forward and backward take a quarter less time (measured on two CPU cores).
            values[name] = _channels_last(value, not exact)
    with torch.autocast("cuda", torch.bfloat16, enabled=amp and images.device.type == "cuda"):
        # No layers share parameters; to look for such takes 5% of a step.
        inputs = _channels_last(images, rounded)
        logits: Tensor = functional_call(module, values, inputs, tie_weights=False)
        return logits


def _channels_last(tensor: Tensor, rounded: bool) -> Tensor:
    """In the layout that convolutions are quick in, and in bfloat16 if it is to be rounded."""
    dtype = torch.bfloat16 if rounded else tensor.dtype
    return tensor.to(dtype, memory_format=torch.channels_last) if tensor.dim() == 4 else tensor.to(dtype)


@torch.no_grad()
def accuracies(
    ghn: GHN, networks: Sequence[TrainingNetwork], batches: Iterable[Batch], amp: bool = False
) -> list[float]:
    """Return the share of images that each network with predicted parameters classifies correctly.

    Batch norm uses the statistics of each batch (DeepNets paper, section C.1).
    """
    predicted = [ghn.predict([network.graph], [network.module])[0] for network in networks]
    for network in networks:
        network.module.eval()  # batch norm has no running statistics and normalizes by the batch all the same
    right, count = [0] * len(networks), 0
    for images, labels in batches:  # one at a time: the validation images of ImageNet are 30 GB as floats
        count += len(labels)
        for i, (network, parameters) in enumerate(zip(networks, predicted, strict=True)):
            right[i] += int((run(network.module, parameters, images, amp).argmax(1) == labels).sum())
    return [r / count for r in right]
