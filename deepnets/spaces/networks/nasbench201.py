"""Networks of NAS-Bench-201 (Dong and Yang, 2020, section 2 and figure 1)."""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from deepnets.spaces.nasbench201 import CELLS_PER_STAGE, WIDTHS, operations_of


class Edge(nn.Module):
    """ReLU, convolution and batch norm, which keep width and size."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(torch.relu(x)))
        return out


def _operation(operation: str, width: int) -> nn.Module:
    if operation.startswith("conv"):
        return Edge(width, int(operation[-1]))
    if operation == "avg_pool3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Identity()


class Cell(nn.Module):
    """A cell of four states and six edges.

    Edges `none` do not exist. Edges that would read zeros are skipped, as they could add a constant only.

    Shapes:
        (B, width, H, W) to the same; zeros where the input does not reach the output.
    """

    def __init__(self, key: str, width: int) -> None:
        super().__init__()
        self.edges = [edge for edge, operation in operations_of(key).items() if operation != "none"]
        for source, target in self.edges:
            operation = operations_of(key)[source, target]
            self.add_module(f"edge_{source}{target}", _operation(operation, width))

    def forward(self, x: Tensor) -> Tensor:
        states = {0: x}
        for target in (1, 2, 3):
            terms = [
                self.get_submodule(f"edge_{source}{target}")(states[source])
                for source in range(target)
                if (source, target) in self.edges and source in states
            ]
            if terms:
                states[target] = reduce(add, terms)
        return states[3] if 3 in states else torch.zeros_like(x)


class ReductionBlock(nn.Module):
    """A residual block of stride 2 that doubles the width.

    Shapes:
        (B, width, H, W) to (B, 2 width, H / 2, W / 2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * width)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.pool = nn.AvgPool2d(2)
        self.shortcut = nn.Conv2d(width, 2 * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(torch.relu(x)))
        out = self.bn2(self.conv2(torch.relu(out)))
        shortcut: Tensor = self.shortcut(self.pool(x))
        added: Tensor = shortcut + out
        return added


class NASBench201Network(nn.Module):
    """The network of a cell.

    Args:
        key: six digits, see `deepnets.spaces.nasbench201`.
        num_classes: outputs of the classifier.

    Shapes:
        images (B, 3, H, W), H and W divisible by 4; logits (B, num_classes).

    Raises:
        InputError: the key is not six digits from 0 to 4.
    """

    image_size = 32

    def __init__(self, key: str, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False))
        self.stem.add_module("bn", nn.BatchNorm2d(WIDTHS[0]))
        cells: list[nn.Module] = []
        for width in WIDTHS:
            cells += [Cell(key, width) for _ in range(CELLS_PER_STAGE)]
            cells += [ReductionBlock(width)] if width != WIDTHS[-1] else []
        self.cells = nn.Sequential(*cells)
        self.norm = nn.BatchNorm2d(WIDTHS[-1])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.cells(self.stem(images))))
        out: Tensor = self.classifier(self.pool(x).flatten(1))
        return out
