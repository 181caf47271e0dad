"""Networks of NAS-Bench-301 (Siems et al., 2020, section 3; cells and operations: DARTS, Liu et al., 2019)."""

import torch
from torch import Tensor, nn

from deepnets.spaces.nasbench301 import STATES, STEM_WIDTH, CellPlan, Genotype301, plan_cells


class ReLUConvNorm(nn.Module):
    """ReLU, 1x1 convolution, batch norm."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(torch.relu(x)))
        return out


class FactorizedReduce(nn.Module):
    """Two 1x1 convolutions of stride 2, the second one pixel further, concatenated.

    Shapes:
        (B, width_in, H, W) to (B, width, H / 2, W / 2).
    """

    def __init__(self, width_in: int, width: int, affine: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width // 2, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(width_in, width // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(width, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        out: Tensor = self.bn(torch.cat([self.conv1(x), self.conv2(x[:, :, 1:, 1:])], 1))
        return out


class DepthwiseConv(nn.Module):
    """ReLU, depthwise and 1x1 convolution, batch norm without parameters; `layers` times (2 if not dilated).

    Shapes:
        (B, width, H, W) to (B, width, H / stride, W / stride).
    """

    def __init__(self, width: int, kernel: int, stride: int, dilated: bool) -> None:
        super().__init__()
        dilation = 2 if dilated else 1
        padding = dilation * (kernel // 2)
        self.layers = 1 if dilated else 2
        for layer, step in ((1, stride), (2, 1))[: self.layers]:
            depthwise = nn.Conv2d(width, width, kernel, step, padding, dilation, groups=width, bias=False)
            self.add_module(f"depthwise{layer}", depthwise)
            self.add_module(f"pointwise{layer}", nn.Conv2d(width, width, 1, bias=False))
            self.add_module(f"bn{layer}", nn.BatchNorm2d(width, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        for layer in range(1, self.layers + 1):
            x = self.get_submodule(f"depthwise{layer}")(torch.relu(x))
            x = self.get_submodule(f"bn{layer}")(self.get_submodule(f"pointwise{layer}")(x))
        return x


def _operation(operation: str, width: int, stride: int) -> nn.Module:
    match operation:
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(width, width, affine=False)
        case "max_pool_3x3":
            return nn.MaxPool2d(3, stride, padding=1)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        case _:
            return DepthwiseConv(width, int(operation[-1]), stride, operation.startswith("dil"))


class Cell(nn.Module):
    """A cell; see `CellPlan`.

    Shapes:
        inputs (B, widths_in[i], H, W), the first twice as large after a reduction; output (B, 4 width, H', W').
    """

    def __init__(self, plan: CellPlan) -> None:
        super().__init__()
        self.plan = plan
        first, second = plan.widths_in
        self.preprocess0: nn.Module = ReLUConvNorm(first, plan.width)
        if plan.after_reduction:
            self.preprocess0 = FactorizedReduce(first, plan.width, affine=True)
        self.preprocess1 = ReLUConvNorm(second, plan.width)
        self.edges = nn.ModuleList(
            _operation(operation, plan.width, 2 if plan.reduction and source < 2 else 1)
            for source, operation in plan.cell
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        states = [self.preprocess0(before), self.preprocess1(previous)]
        for state in range(2, 2 + STATES):
            first, second = 2 * state - 4, 2 * state - 3
            sources = [self.plan.cell[edge][0] for edge in (first, second)]
            states.append(self.edges[first](states[sources[0]]) + self.edges[second](states[sources[1]]))
        return torch.cat(states[2:], 1)


class NASBench301Network(nn.Module):
    """The network of a genotype.

    Args:
        genotype: see `deepnets.spaces.nasbench301`.
        num_classes: outputs of the classifier.

    Shapes:
        images (B, 3, H, W), H and W divisible by 4; logits (B, num_classes).
    """

    image_size = 32

    def __init__(self, genotype: Genotype301, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(3, STEM_WIDTH, 3, padding=1, bias=False))
        self.stem.add_module("bn", nn.BatchNorm2d(STEM_WIDTH))
        plans = plan_cells(genotype)
        self.cells = nn.ModuleList(map(Cell, plans))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(STATES * plans[-1].width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        before = previous = self.stem(images)
        for cell in self.cells:
            before, previous = previous, cell(before, previous)
        out: Tensor = self.classifier(self.pool(previous).flatten(1))
        return out
