"""GradInit: learned factors of parameters, with which the first step of SGD lowers the loss most (Zhu et al., 2021)."""

import torch
from torch import Tensor, nn

from benchmarks.initializers.base import InitContext
from benchmarks.initializers.objectives import gradients, learn_factors, loss, norm
from benchmarks.training.loop import epochs_of

STEPS = 390
"""An epoch of CIFAR-10 (section 4.1)."""
_GAMMA = 1.0  # largest gradient norm
_ETA = 0.1  # length of the step
_LR = 1e-2  # of factors, for an epoch; the paper takes 1e-3 to 1e-1, depending on the network
_LARGEST_LR = 1e-1
_HALF = 64  # images in half a batch


def gradinit(model: nn.Module, context: InitContext, steps: int = STEPS) -> None:
    """Multiply each parameter with a learned factor (Zhu et al., 2021, Algorithm 1, for SGD).

    The factors minimize the loss after one step along the normalized gradient. Half of the images of this loss are
    those that the gradient was computed on. Where the norm of the gradient is above 1, the factors minimize the norm
    instead. Each of the two objectives has its own Adam. Its learning rate is 0.01 for an epoch; with fewer steps it is
    larger in proportion, up to 0.1, the largest of the paper.

    Args:
        model: the network with a random initialization; it is moved to the device of the images.
        context: images of its task.
        steps: number of steps of Adam.

    Raises:
        InputError: gradients or factors are not finite.
    """
    task = context.images()
    model.to(task.train.labels.device)
    halves = epochs_of(task.train, round(_HALF * context.batch_share), context.seed(), task.flip)

    def value(scaled: dict[str, Tensor]) -> tuple[bool, Tensor]:
        first, second, third = next(halves), next(halves), next(halves)
        gradient = gradients(loss(model, scaled, *_joined(first, second)), scaled)
        size = norm(gradient)
        if size > _GAMMA:
            return True, size
        moved = {name: w - _ETA / size.detach() * gradient[name].detach() for name, w in scaled.items()}
        del gradient, size  # and what their derivatives would need, more memory than anything else
        return False, loss(model, moved, *_joined(first, third)) / _ETA

    learn_factors(model, min(_LARGEST_LR, _LR * max(1, STEPS / steps)), steps, value)


def _joined(*parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(labels)
