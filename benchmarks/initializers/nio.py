"""NIO: learned factors of parameters, with which gradients of different images agree (Yang et al., 2022)."""

import torch
from torch import Tensor, nn

from benchmarks.initializers.base import InitContext
from benchmarks.initializers.objectives import gradients, learn_factors, loss, norm
from benchmarks.training.loop import epochs_of

STEPS = 100
_GAMMA = 1.0  # largest gradient norm
_LR = 5e-3  # of factors
_PARTS = 2  # sub-batches
_OVERLAP = 0.2  # share of a sub-batch that is also in the next one
_BATCH = 128


def nio(model: nn.Module, context: InitContext, steps: int = STEPS) -> None:
    """Multiply each parameter with a learned factor (Yang et al., 2022, Algorithm 1, with sub-batches).

    The factors maximize GradCosine, the cosine of the gradients of overlapping halves of a batch, which bounds how far
    the optima of single images are apart. Where the larger norm of the two is above 1, they minimize it instead. The
    paper does not print all settings; those here are of this toolkit.

    Args:
        model: the network with a random initialization; it is moved to the device of the images.
        context: images of its task.
        steps: number of steps.

    Raises:
        InputError: gradients or factors are not finite.
    """
    task = context.images()
    model.to(task.train.labels.device)
    batches = epochs_of(task.train, round(_BATCH * context.batch_share), context.seed(), task.flip)

    def value(scaled: dict[str, Tensor]) -> tuple[bool, Tensor]:
        images, labels = next(batches)
        first, second = (
            gradients(loss(model, scaled, images[part], labels[part]), scaled) for part in _sub_batches(len(labels))
        )
        size = torch.maximum(norm(first), norm(second))
        return (True, size) if size > _GAMMA else (False, -grad_cosine(first, second))

    learn_factors(model, _LR, steps, value)


def grad_cosine(first: dict[str, Tensor], second: dict[str, Tensor]) -> Tensor:
    """Return the cosine of the angle between two gradients (Yang et al., 2022, Definition 1)."""
    product = torch.stack([(first[name] * second[name]).sum() for name in first]).sum()
    return product / (norm(first) * norm(second)).clamp(min=1e-12)


def _sub_batches(size: int) -> tuple[slice, slice]:
    """Return two sub-batches of a batch, a fifth of which they share."""
    count = max(1, round(size / (_PARTS - _OVERLAP)))
    return slice(0, count), slice(size - count, size)
