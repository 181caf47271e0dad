"""Architecture -> torch module (DeepNets-1M paper, section A.1; DARTS for cells, drop-path and the auxiliary head).

Parameters have the names and shapes of the nodes of `deepnets.symbolic_graph`; modules that the output does
not depend on exist too, but are not run. Build under `torch.device("meta")` for a network without storage, for example
to call it with predicted parameters.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from deepnets.design_space.architecture import Architecture
from deepnets.design_space.genotype import Edge
from deepnets.design_space.image_sizes import check_image_size
from deepnets.networks.kernels.concatenation import concatenate
from deepnets.networks.layers import (
    AuxiliaryHead,
    DropPath,
    FactorizedReduce,
    PositionalEncoding,
    ReLUConvNorm,
    StridedSlice,
    conv,
    norm_layer,
    operation,
)
from deepnets.networks.meta_copies import build_layer
from deepnets.utils.errors import InputError

_KEEP_WIDTH = ("max_pool_3x3", "avg_pool_3x3", "msa", "cse")


@dataclass(frozen=True)
class CellPlan:
    """The layers of a cell, and the edges that its forward pass runs.

    Args:
        edges, concat: the cell of the genotype.
        preproc: whether the inputs are preprocessed, which brings them to the width of the cell.
        input_widths: channels of the two inputs.
        inputs_present: an input is absent where `none` operations cut it off from the image.
        width: channels of every state that the cell adds.
        stride: stride of the operations that read an input.
        halve_first: whether the map of the first input is twice as large as that of the second.
    """

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]
    preproc: bool
    input_widths: tuple[int, int]
    inputs_present: tuple[bool, bool]
    width: int
    stride: int
    halve_first: bool

    @cached_property
    def sums(self) -> dict[int, list[int]]:
        """Return the edges that each state sums, without states that are absent or unused by the output."""
        present = {state for state in (0, 1) if self.inputs_present[state]}
        sums = {}
        for state in range(2, len(self.edges) // 2 + 2):
            pair = (2 * state - 4, 2 * state - 3)
            running = [k for k in pair if self.edges[k][0] != "none" and self.edges[k][1] in present]
            if running:
                sums[state] = running
                present.add(state)
        needed = set(self.concat)
        for state in reversed(sums):
            if state in needed:
                needed.update(self.edges[k][1] for k in sums[state])
        return {state: running for state, running in sums.items() if state in needed}

    @cached_property
    def inputs_read(self) -> set[int]:
        """Return the inputs, 0 and 1, that some running edge reads."""
        return {self.edges[k][1] for running in self.sums.values() for k in running} & {0, 1}

    @property
    def output_present(self) -> bool:
        """Tell whether the image reaches some state of the output."""
        return any(state in self.sums for state in self.concat)

    @property
    def output_width(self) -> int:
        """Return the channels of the output; absent states count, as zeros."""
        return len(self.concat) * self.width

    def width_of(self, state: int) -> int:
        """Return the channels of a state, as an operation reads it."""
        return self.width if self.preproc or state >= 2 else self.input_widths[state]

    def stride_of(self, state: int) -> int:
        """Return the stride of the operations that read a state."""
        return self.stride if state < 2 else 1

    def check_widths(self) -> None:
        """Raise InputError where a sum would add states of different widths (possible without preprocessing only)."""
        for op, state in (self.edges[k] for running in self.sums.values() for k in running):
            keeps = op in _KEEP_WIDTH or (op == "skip_connect" and self.stride_of(state) == 1)
            if keeps and self.width_of(state) != self.width:
                raise InputError(
                    f"{op} reads {self.width_of(state)} channels in a cell of width {self.width} and cannot change "
                    f"them; C_mult > 1 needs preproc=True with this genotype"
                )


def plan_cells(architecture: Architecture, stem_width: int) -> list[CellPlan]:
    """Plan all cells of an architecture, behind a stem of the given width.

    Raises:
        InputError: the image does not reach the output, or widths do not match.
    """
    reductions = _reduction_cells(architecture)
    width = architecture.channels
    widths, present = (stem_width, stem_width), (True, True)
    plans: list[CellPlan] = []
    for number in range(architecture.n_cells):
        reduction = number in reductions
        after_reduction = number - 1 in reductions if number else architecture.stem_type == 1
        # Without preprocessing a cell cannot change the width of its inputs: the cell before a reduction does.
        grows_early = not architecture.preproc and number + 1 in reductions
        width *= architecture.C_mult if reduction else 1
        _, edges, concat = architecture.genotype.cells()[reduction]
        plan = CellPlan(
            edges=edges,
            concat=concat,
            preproc=architecture.preproc,
            input_widths=widths,
            inputs_present=present,
            width=width * architecture.C_mult if grows_early else width,
            stride=2 if reduction and not architecture.is_vit else 1,
            halve_first=after_reduction and not architecture.is_vit,
        )
        plan.check_widths()
        plans.append(plan)
        widths, present = (widths[1], plan.output_width), (present[1], plan.output_present)
    if not present[1]:
        raise InputError("the input of this architecture does not reach its output (too many 'none' operations)")
    return plans


def _reduction_cells(architecture: Architecture) -> set[int]:
    """Return the numbers of the cells that halve the maps; the first cell never does."""
    return {architecture.n_cells // 3, 2 * architecture.n_cells // 3} - {0}


def live_cells(plans: Sequence[CellPlan], outputs: Collection[int]) -> frozenset[int]:
    """Return the cells that the outputs depend on; cells with few edges may leave an earlier cell unread."""
    live = set(outputs)
    for number in reversed(range(len(plans))):
        if number in live:
            live |= {number - 2 + state for state in plans[number].inputs_read}
    return frozenset(number for number in live if number >= 0)


class Cell(nn.Module):
    """A normal or reduction cell (DARTS): states are sums of operations on earlier states, the output concatenates.

    Args:
        plan: the layers and edges of the cell.
        norm: "bn" or None.
        drop_path: drop-path of every operation but the identity; one module for all cells.

    Shapes:
        inputs (B, input_widths[i], H, W), the first twice as large if it is halved; output (B, output_width, H', W').
    """

    def __init__(self, plan: CellPlan, norm: str | None, drop_path: DropPath) -> None:
        super().__init__()
        self.plan = plan
        self.preprocess0 = _preprocess(plan, 0, norm)
        self.preprocess1 = _preprocess(plan, 1, norm)
        self._ops = nn.ModuleDict(
            {
                str(k): operation(op, plan.width_of(state), plan.width, plan.stride_of(state), norm)
                for k, (op, state) in enumerate(plan.edges)
                if op != "none"
            }
        )
        self.drop_path = drop_path

    def forward(self, before: Tensor | None, previous: Tensor | None) -> Tensor | None:
        """Return the output of the cell, or None if no operation reaches it.

        Args:
            before: output of the cell before the previous one; None if it is absent.
            previous: output of the previous cell.
        """
        states: dict[int, Tensor] = {}
        for state, preprocess, x in ((0, self.preprocess0, before), (1, self.preprocess1, previous)):
            if x is not None and state in self.plan.inputs_read:
                states[state] = preprocess(x)
        for state, edges in self.plan.sums.items():
            terms = [self._edge(k, states) for k in edges]
            states[state] = terms[0] + terms[1] if len(terms) == 2 else terms[0]
        return self._concat([states.get(state) for state in self.plan.concat])

    def _edge(self, k: int, states: dict[int, Tensor]) -> Tensor:
        op = self._ops[str(k)]
        passed: Tensor = op(states[self.plan.edges[k][1]])
        if isinstance(op, nn.Identity):
            return passed
        dropped: Tensor = self.drop_path(passed)
        return dropped

    def _concat(self, states: list[Tensor | None]) -> Tensor | None:
        present = [x for x in states if x is not None]
        if not present or len(states) == 1:
            return states[0]
        # The next layer expects the channels of all states: those of absent ones are zeros.
        return concatenate([torch.zeros_like(present[0]) if x is None else x for x in states])


def _preprocess(plan: CellPlan, state: int, norm: str | None) -> nn.Module:
    """Return the layers at input 0 or 1 of a cell."""
    halve = plan.halve_first and state == 0
    if not plan.preproc:
        return StridedSlice() if halve else nn.Identity()
    width_in = plan.input_widths[state]
    if halve:
        return build_layer(FactorizedReduce, width_in, plan.width, norm)
    return build_layer(ReLUConvNorm, width_in, plan.width, 1, 1, norm)


class Network(nn.Module):
    """A network of the design space: stem, cells, head.

    Args:
        architecture: the architecture to build.
        num_classes: outputs of the classifier.
        image_size: style of stem and head, 32 (CIFAR) or 224 (ImageNet).
        auxiliary: add an auxiliary head two thirds into the network (DARTS); in training mode the result is then
            the pair (logits, auxiliary logits).
        drop_path: probability of dropping the output of an operation in training mode (DARTS). A schedule sets
            `network.drop_path.p`.

    Shapes:
        images (B, 3, image_size, image_size); logits (B, num_classes). With global average pooling and without
        attention other sizes work as well, if every map that is halved has even sides.

    Raises:
        InputError: an unknown image size, a probability outside [0, 1), an architecture whose input does not reach
            its output or whose widths do not match.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int = 10,
        image_size: int = 32,
        auxiliary: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_image_size(image_size)
        self.architecture = architecture
        self.image_size = image_size
        self.drop_path = DropPath(drop_path)
        self.num_classes = num_classes
        self.plans = plans = plan_cells(architecture, self._add_stem(image_size))
        self.cells = nn.ModuleList(Cell(plan, architecture.norm, self.drop_path) for plan in plans)
        self.auxiliary_cell: int | None = None
        self.live_cells = live_cells(plans, {len(plans) - 1})
        if auxiliary:
            self.add_auxiliary_head()
        self.global_pooling = nn.AdaptiveAvgPool2d(1) if architecture.glob_avg else nn.Identity()
        area = 1 if architecture.glob_avg else _map_side(architecture, image_size) ** 2
        self.classifier = _classifier(architecture, plans[-1].output_width * area, num_classes)

    def add_auxiliary_head(self) -> None:
        """Add an auxiliary head two thirds into the network (DARTS), with a random initialization.

        Raises:
            InputError: the cell there has no output.
        """
        number = 2 * self.architecture.n_cells // 3
        plan = self.plans[number]
        if not plan.output_present:
            raise InputError(f"cell {number} has no output that an auxiliary head could read")
        self.auxiliary_cell = number
        self.live_cells = live_cells(self.plans, {len(self.plans) - 1, number})
        self.auxiliary_head = AuxiliaryHead(
            plan.output_width, self.num_classes, self.image_size, self.architecture.norm
        )

    def remove_auxiliary_head(self) -> None:
        """Remove the auxiliary head, which only training needs."""
        if self.auxiliary_cell is not None:
            self.auxiliary_cell = None
            self.live_cells = live_cells(self.plans, {len(self.plans) - 1})
            del self.auxiliary_head

    def _add_stem(self, image_size: int) -> int:
        """Add the layers before the first cell, and return their output channels."""
        architecture, norm = self.architecture, self.architecture.norm
        C, ks, small = architecture.channels, architecture.ks, image_size == 32
        if architecture.is_vit:
            patch, padding, side = (3, 1, 11) if small else (16, 0, 14)
            self.stem0: nn.Module = nn.Conv2d(3, C, patch, stride=patch, padding=padding, bias=False)
            self.pos_enc = PositionalEncoding(C, side)
        elif architecture.stem_type == 0:
            C = 3 * C if architecture.preproc and small else C
            pool = [nn.MaxPool2d(3, stride=2, padding=1)] if architecture.stem_pool else []
            self.stem = nn.Sequential(conv(3, C, ks, 1 if small else 4), norm_layer(norm, C), *pool)
        else:
            stride = 1 if small else 2
            first = [conv(3, C // 2, ks, stride), norm_layer(norm, C // 2), nn.ReLU()]
            self.stem0 = nn.Sequential(*first, conv(C // 2, C, 3, stride), norm_layer(norm, C))
            self.stem1 = nn.Sequential(nn.ReLU(), conv(C, C, 3, stride=2), norm_layer(norm, C))
        return C

    def _stems(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two inputs of the first cell."""
        if self.architecture.is_vit:
            tokens = self.pos_enc(self.stem0(images))  # (B, C, side, side)
            return tokens, tokens
        if self.architecture.stem_type == 0:
            x = self.stem(images)
            return x, x
        before = self.stem0(images)
        return before, self.stem1(before)

    def features(self, images: Tensor) -> Tensor:
        """Return the maps that the head reads: (B, C, H, W), with the width C of the last cell's output."""
        return self._body(images)[0]

    def _body(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the output of the last cell, and the auxiliary logits in training mode."""
        before: Tensor | None
        previous: Tensor | None
        before, previous = self._stems(images)
        auxiliary_logits = None
        for number, cell in enumerate(self.cells):
            before, previous = previous, cell(before, previous) if number in self.live_cells else None
            if self.training and number == self.auxiliary_cell:
                auxiliary_logits = self.auxiliary_head(previous)
        assert previous is not None  # such architectures are refused
        return previous, auxiliary_logits

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        maps, auxiliary_logits = self._body(images)
        logits = self.classifier(self.global_pooling(maps).flatten(1))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


def _map_side(architecture: Architecture, image_size: int) -> int:
    """Return the height and width of the last cell's output, which a VGG-style head flattens."""
    side = 32 if image_size == 32 else 56
    side //= 2 if architecture.stem_pool or architecture.stem_type == 1 else 1
    for _ in _reduction_cells(architecture):
        side //= 2
    return side


def _classifier(architecture: Architecture, features: int, num_classes: int) -> nn.Sequential:
    """Return the classifier: one linear layer, or two."""
    if architecture.fc_layers == 1:
        return nn.Sequential(nn.Linear(features, num_classes))
    hidden = architecture.fc_dim
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, num_classes))
