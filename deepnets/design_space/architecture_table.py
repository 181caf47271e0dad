"""Many architectures as columns: sampling returns them, symbolic graphs are built from them, files store them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnets.design_space.architecture import Architecture
from deepnets.design_space.genotype import OPERATION_INDEX, OPERATIONS, Genotype

NO_EDGE = 255
"""Value of `ops` and `inputs` beyond the last edge of a cell."""


@dataclass(frozen=True, eq=False)
class ArchitectureTable:
    """B architectures, one row each; the columns are the fields of `Architecture`.

    The genotype is three columns whose second axis is the cell: 0 normal, 1 reduction.

    Shapes:
        ops: (B, 2, E) uint8 operation of each edge; state i + 2 is the sum of edges 2i and 2i + 1.
        inputs: (B, 2, E) uint8 state that each edge reads.
        concat: (B, 2) uint16 concatenated states as bits: bit s stands for state s.
        all other columns: (B,)
    """

    n_cells: NDArray[np.uint8]
    channels: NDArray[np.uint16]
    bn: NDArray[np.bool_]
    ks: NDArray[np.uint8]
    preproc: NDArray[np.bool_]
    glob_avg: NDArray[np.bool_]
    stem_type: NDArray[np.uint8]
    stem_pool: NDArray[np.bool_]
    C_mult: NDArray[np.uint8]
    fc_layers: NDArray[np.uint8]
    fc_dim: NDArray[np.uint16]
    ops: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    concat: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.n_cells)

    def __getitem__(self, index: int) -> Architecture:
        genotype = Genotype(
            self._edges(index, 0), self._concatenated(index, 0), self._edges(index, 1), self._concatenated(index, 1)
        )
        return Architecture(
            genotype=genotype,
            n_cells=int(self.n_cells[index]),
            channels=int(self.channels[index]),
            norm="bn" if self.bn[index] else None,
            ks=int(self.ks[index]),
            preproc=bool(self.preproc[index]),
            glob_avg=bool(self.glob_avg[index]),
            stem_type=int(self.stem_type[index]),
            stem_pool=bool(self.stem_pool[index]),
            C_mult=int(self.C_mult[index]),
            fc_layers=int(self.fc_layers[index]),
            fc_dim=int(self.fc_dim[index]),
        )

    def _edges(self, index: int, cell: int) -> tuple[tuple[str, int], ...]:
        pairs = zip(self.ops[index, cell].tolist(), self.inputs[index, cell].tolist(), strict=True)
        return tuple((OPERATIONS[op], state) for op, state in pairs if op != NO_EDGE)

    def _concatenated(self, index: int, cell: int) -> tuple[int, ...]:
        bits = int(self.concat[index, cell])
        return tuple(state for state in range(16) if bits >> state & 1)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "ArchitectureTable":
        """Return the architectures at `index`, in that order."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def with_channels(self, channels: NDArray[np.integer]) -> "ArchitectureTable":
        """Return the same architectures at other widths, (B,) channels of the first cells."""
        return replace(self, channels=channels.astype(np.uint16))

    @classmethod
    def concatenate(cls, tables: Sequence["ArchitectureTable"]) -> "ArchitectureTable":
        """Return the architectures of all tables, one table after the other."""
        n_edges = max(table.ops.shape[2] for table in tables)

        def padded(column: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.pad(column, ((0, 0), (0, 0), (0, n_edges - column.shape[2])), constant_values=NO_EDGE)

        wide = [replace(table, ops=padded(table.ops), inputs=padded(table.inputs)) for table in tables]
        return cls(**{f.name: np.concatenate([getattr(table, f.name) for table in wide]) for f in fields(cls)})

    @property
    def is_vit(self) -> NDArray[np.bool_]:
        """(B,) whether the network has the stem of a Vision Transformer: any attention in the genotype."""
        return np.asarray((self.ops == OPERATION_INDEX["msa"]).any(axis=(1, 2)))

    @classmethod
    def from_architectures(cls, architectures: Sequence[Architecture]) -> "ArchitectureTable":
        """Return the columns of a sequence of architectures."""
        n_edges = max(len(edges) for a in architectures for _, edges, _ in a.genotype.cells())
        ops = np.full((len(architectures), 2, n_edges), NO_EDGE, np.uint8)
        inputs = np.full_like(ops, NO_EDGE)
        concat = np.zeros((len(architectures), 2), np.uint16)
        for row, architecture in enumerate(architectures):
            for cell, (_, edges, states) in enumerate(architecture.genotype.cells()):
                ops[row, cell, : len(edges)] = [OPERATION_INDEX[op] for op, _ in edges]
                inputs[row, cell, : len(edges)] = [state for _, state in edges]
                concat[row, cell] = sum(1 << state for state in states)
        scalars: dict[str, NDArray[Any]] = {
            name: np.array([getattr(a, name) for a in architectures], dtype) for name, dtype in SCALAR_DTYPES.items()
        }
        bn = np.array([a.norm == "bn" for a in architectures])
        return cls(bn=bn, ops=ops, inputs=inputs, concat=concat, **scalars)


SCALAR_DTYPES: dict[str, type] = {
    "n_cells": np.uint8,
    "channels": np.uint16,
    "ks": np.uint8,
    "preproc": np.bool_,
    "glob_avg": np.bool_,
    "stem_type": np.uint8,
    "stem_pool": np.bool_,
    "C_mult": np.uint8,
    "fc_layers": np.uint8,
    "fc_dim": np.uint16,
}
"""Columns that are fields of `Architecture`, by name, with their dtype."""


def concatenates(concat: NDArray[np.uint16], state: int) -> NDArray[np.bool_]:
    """Return whether the cells concatenate a state, for an array of `concat` columns of any shape."""
    return (concat >> np.uint16(state) & 1).astype(np.bool_)
