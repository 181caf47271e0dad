"""Networks of NAS-Bench-101 (Ying et al., 2019, section 2)."""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from deepnets.spaces.nasbench101 import MODULES_PER_STACK, STACKS, STEM_WIDTH, Cell101


class ConvNorm(nn.Module):
    """Convolution that keeps the size, batch norm, ReLU."""

    def __init__(self, width_in: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-5, momentum=0.003)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Module101(nn.Module):
    """A module: the cell, with a projection of its input for every vertex that reads it.

    Shapes:
        (B, width_in, H, W) to (B, width, H, W).
    """

    def __init__(self, cell: Cell101, width_in: int, width: int) -> None:
        super().__init__()
        self.cell = cell
        self.widths = cell.widths(width_in, width)
        for vertex, operation in list(enumerate(cell.operations))[1:]:
            if 0 in cell.sources[vertex]:
                self.add_module(f"project_{vertex}", ConvNorm(width_in, self.widths[vertex], 1))
            if operation.startswith("conv"):
                layer: nn.Module = ConvNorm(self.widths[vertex], self.widths[vertex], int(operation[-1]))
                self.add_module(f"vertex_{vertex}", layer)
            elif operation == "maxpool3x3":
                self.add_module(f"vertex_{vertex}", nn.MaxPool2d(3, stride=1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        states, last = [x], len(self.widths) - 1
        for vertex in range(1, last):
            # A wider vertex gives its first channels.
            terms = [states[s][:, : self.widths[vertex]] for s in self.cell.sources[vertex] if s > 0]
            states.append(self.get_submodule(f"vertex_{vertex}")(reduce(add, terms + self._projected(x, vertex))))
        parts = [states[source] for source in self.cell.sources[last] if source > 0]
        joined = [torch.cat(parts, 1) if len(parts) > 1 else parts[0]] if parts else []
        return reduce(add, joined + self._projected(x, last))

    def _projected(self, x: Tensor, vertex: int) -> list[Tensor]:
        """The term that the module's input adds to a vertex, if any."""
        return [self.get_submodule(f"project_{vertex}")(x)] if 0 in self.cell.sources[vertex] else []


class NASBench101Network(nn.Module):
    """The network of a cell.

    Args:
        cell: see `deepnets.spaces.nasbench101`.
        num_classes: outputs of the classifier.

    Shapes:
        images (B, 3, H, W), H and W divisible by 4; logits (B, num_classes).
    """

    image_size = 32

    def __init__(self, cell: Cell101, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM_WIDTH, 3)
        widths = [STEM_WIDTH * 2**stack for stack in range(STACKS) for _ in range(MODULES_PER_STACK)]
        self.cells = nn.ModuleList(map(Module101, [cell] * len(widths), [STEM_WIDTH, *widths], widths))
        self.between_stacks = nn.MaxPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for number, cell in enumerate(self.cells):
            if number and number % MODULES_PER_STACK == 0:
                x = self.between_stacks(x)
            x = cell(x)
        out: Tensor = self.classifier(self.pool(x).flatten(1))
        return out
