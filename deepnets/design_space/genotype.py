"""Genotypes: the two cells, normal and reduction, that a network of the design space repeats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deepnets.utils.errors import InputError

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_1x1",
    "conv_7x1_1x7",
    "conv_3x3",
    "conv_5x5",
    "conv_7x7",
    "msa",
    "cse",
)
OPERATION_INDEX = {name: index for index, name in enumerate(OPERATIONS)}

MAX_STEPS = 10
"""The largest number of states that a cell adds to its two inputs (in the split dense)."""

Edge = tuple[str, int]


@dataclass(frozen=True)
class Genotype:
    """The normal and the reduction cell of a network (DARTS; DeepNets-1M paper, section A.1).

    A cell has two inputs, states 0 and 1: the outputs of the cell before the previous one and of the previous one. It
    adds further states. An edge is an operation on an earlier state, and state i + 2 is the sum of edges 2i and
    2i + 1. The output of the cell is the concatenation of some of its states.

    Args:
        normal, reduce: edges of the cell, (operation, input state) each.
        normal_concat, reduce_concat: states that the cell concatenates.

    Raises:
        InputError: an operation, an input state or a concatenated state that does not exist.
    """

    normal: tuple[Edge, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Edge, ...]
    reduce_concat: tuple[int, ...]

    def __post_init__(self) -> None:
        for cell, edges, concat in self.cells():
            _check_edges(cell, edges)
            last = len(edges) // 2 + 1
            if not concat or len(set(concat)) != len(concat) or not all(2 <= s <= last for s in concat):
                raise InputError(f"{cell}_concat is {concat}; it lists distinct states from 2 to {last}, at least one")

    def cells(self) -> tuple[tuple[str, tuple[Edge, ...], tuple[int, ...]], ...]:
        """Return name, edges and concatenated states of the normal and of the reduction cell."""
        return ("normal", self.normal, self.normal_concat), ("reduce", self.reduce, self.reduce_concat)

    @property
    def is_vit(self) -> bool:
        """Whether the network has the stem of a Vision Transformer: any attention in the genotype."""
        return any(op == "msa" for op, _ in self.normal + self.reduce)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Genotype":
        """Read the published form: lists of [operation, input state] and lists of states.

        Raises:
            InputError: a field is missing or has another form.
        """
        if not isinstance(fields, Mapping):
            raise InputError(f"the genotype is {fields!r}; it is a mapping with normal, normal_concat, reduce, ...")
        missing = {"normal", "normal_concat", "reduce", "reduce_concat"} - set(fields)
        if missing:
            raise InputError(f"the genotype lacks {', '.join(sorted(missing))}")
        cells = [fields["normal"], fields["reduce"]]
        concatenated = [fields["normal_concat"], fields["reduce_concat"]]
        if not all(_is_list(cell, _is_edge) for cell in cells) or not all(_is_list(c, _is_int) for c in concatenated):
            raise InputError("a cell is a list of [operation, input state] and a list of concatenated states")
        normal, reduce = (tuple((op, state) for op, state in cell) for cell in cells)
        return cls(normal, tuple(concatenated[0]), reduce, tuple(concatenated[1]))

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the published form, ready for JSON."""
        return {
            "normal": [list(edge) for edge in self.normal],
            "normal_concat": list(self.normal_concat),
            "reduce": [list(edge) for edge in self.reduce],
            "reduce_concat": list(self.reduce_concat),
        }


def _is_list(value: object, is_member: Callable[[object], bool]) -> bool:
    return isinstance(value, list | tuple) and all(is_member(member) for member in value)


def _is_edge(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str) and _is_int(value[1])


def _is_int(value: object) -> bool:
    return type(value) is int


def _check_edges(cell: str, edges: tuple[Edge, ...]) -> None:
    if len(edges) % 2 or not 2 <= len(edges) <= 2 * MAX_STEPS:
        raise InputError(f"the {cell} cell has {len(edges)} edges; it has two per step and 1 to {MAX_STEPS} steps")
    for k, (op, state) in enumerate(edges):
        if op not in OPERATION_INDEX:
            raise InputError(f"unknown operation {op!r} in the {cell} cell; known: {', '.join(OPERATIONS)}")
        if not 0 <= state < k // 2 + 2:
            raise InputError(f"edge {k} of the {cell} cell reads state {state}; it may read 0 to {k // 2 + 1}")
