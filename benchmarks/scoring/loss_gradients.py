"""Gradients of the loss with respect to the weights of a network, which stays as it is.

"Weights" are those of convolutions, linear layers and attention.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepnets.networks.stand_ins import call_with
from deepnets.networks.weight_layers import named_weights


def weight_names(model: nn.Module) -> list[str]:
    """Return the names of the weights; a weight that two layers share has one name."""
    parameters = dict(model.named_parameters())
    return [name for name, _, _ in named_weights(model) if name in parameters]


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the cross entropy, and the tensors that stand in for the model's weights, to differentiate it by."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    weights = [parameters[name].requires_grad_() for name in weight_names(model)]
    return F.cross_entropy(call_with(model, parameters, images), labels), weights


def loss_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, create_graph: bool = False
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Return the weights and the gradients of the cross entropy, zeros for weights that it does not depend on."""
    loss, weights = cross_entropy(model, images, labels)
    return weights, torch.autograd.grad(
        loss, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
