"""Faster R-CNN with a network as its backbone: training and average precision (DeepNets paper, section 5.3).

Hyperparameters are those of PyTorch's detection tutorial, which the papers follow.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.detection.average_precision import average_precision
from benchmarks.detection.backbones import Backbone
from benchmarks.detection.penn_fudan import Scene
from benchmarks.training.optimizers import make_optimizer, set_lr

_WEIGHT_DECAY = 5e-4
_WARM_UP, _WARM_UP_STEPS = 1e-3, 1000
_ANCHORS, _RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)  # sides in pixels, height / width


def faster_rcnn(network: nn.Module, image_side: int) -> nn.Module:
    """Build a Faster R-CNN (Ren et al., 2015) with a network as its backbone, on the device of the network.

    One map, 15 anchors at each place, regions of 7x7, as in the tutorial. Networks of DeepNets-1M with attention see
    smaller images, since their time grows with the square of the area: 320 pixels instead of 800, as in the
    reference code.

    Raises:
        InputError: the network cannot be a backbone.
    """
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    backbone = Backbone(network)
    side = image_side * 2 // 5 if backbone.attends else image_side
    with next(network.parameters()).device:
        detector: Any = FasterRCNN(
            backbone,
            num_classes=2,
            min_size=side,
            max_size=side * 5 // 3,
            rpn_anchor_generator=AnchorGenerator((_ANCHORS,), (_RATIOS,)),
            box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        )
    # There is one size. Choosing it at random would take numbers of the CPU, which may be making the next network.
    detector.transform.torch_choice = lambda sizes: sizes[0]
    module: nn.Module = detector
    return module


def train(
    detector: nn.Module, scenes: Sequence[Scene], batch_size: int, epochs: int, lr: float, seed: int
) -> tuple[int, bool]:
    """Train a detector in place: SGD with momentum 0.9 and weight decay 5e-4, half of the images mirrored.

    Returns:
        Number of steps, and whether all losses were finite; training ends with the first loss that is not.
    """
    sgd = make_optimizer(detector, lr, _WEIGHT_DECAY)
    rng = np.random.default_rng([seed, 1])
    per_epoch = math.ceil(len(scenes) / batch_size)
    detector.train()
    step = 0
    for _ in range(epochs):
        for batch in _batches(scenes, batch_size, rng):
            set_lr(sgd, lr * _rate(step, per_epoch, epochs))
            targets = [{"boxes": s.boxes, "labels": torch.ones(len(s.boxes)).to(s.boxes).long()} for s in batch]
            loss = torch.stack([*detector([s.image / 255 for s in batch], targets).values()]).sum()
            if not torch.isfinite(loss):
                return step, False
            sgd.zero_grad()
            torch.autograd.backward(loss)
            sgd.step()
            step += 1
    return step, True


def _rate(step: int, per_epoch: int, epochs: int) -> float:
    """Return the factor of the learning rate: it grows in the first epoch, then falls in three steps."""
    warm_up = min(_WARM_UP_STEPS, per_epoch - 1)
    grown = _WARM_UP + (1 - _WARM_UP) * step / warm_up if step < warm_up else 1.0
    return grown * 0.1 ** (step // per_epoch // max(1, round(0.3 * epochs)))


def _batches(scenes: Sequence[Scene], batch_size: int, rng: np.random.Generator) -> Iterator[list[Scene]]:
    """Yield all scenes once, in random order; half of them are mirrored."""
    order = rng.permutation(len(scenes))
    for start in range(0, len(order), batch_size):
        yield [mirrored(scenes[i]) if rng.random() < 0.5 else scenes[i] for i in order[start : start + batch_size]]


def mirrored(scene: Scene) -> Scene:
    """Return the scene with left and right exchanged."""
    left, top, right, bottom = scene.boxes.unbind(1)
    width = scene.image.shape[2]
    return Scene(scene.image.flip(2), torch.stack([width - right, top, width - left, bottom], 1))


@torch.no_grad()
def precision(detector: nn.Module, scenes: Sequence[Scene]) -> float:
    """Return the average precision at IoU 0.50; batch norm uses the statistics of training."""
    detector.eval()

    def numbers(values: Tensor) -> NDArray[np.float64]:
        return values.cpu().numpy().astype(np.float64)

    detected = [detector([scene.image / 255])[0] for scene in scenes]
    return average_precision(
        [numbers(scene.boxes) for scene in scenes],
        [(numbers(result["boxes"]), numbers(result["scores"])) for result in detected],
    )
