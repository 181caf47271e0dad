"""Genotypes and architectures: round trips through the published dictionaries, and bad input."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepnets import Architecture, Genotype
from deepnets.design_space.architecture_table import ArchitectureTable
from deepnets.design_space.genotype import OPERATIONS
from deepnets.utils.errors import InputError


@st.composite
def cells(draw: st.DrawFn) -> tuple[tuple[tuple[str, int], ...], tuple[int, ...]]:
    steps = draw(st.integers(1, 10))
    edges = tuple((draw(st.sampled_from(OPERATIONS)), draw(st.integers(0, edge // 2 + 1))) for edge in range(2 * steps))
    concat = draw(st.lists(st.integers(2, steps + 1), min_size=1, unique=True))
    return edges, tuple(sorted(concat))


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    normal, reduce = draw(cells()), draw(cells())
    single = len(normal[1]) + len(reduce[1]) == 2
    return Architecture(
        genotype=Genotype(*normal, *reduce),
        n_cells=draw(st.integers(1, 40)),
        channels=8 * draw(st.integers(1, 200)),
        norm=draw(st.sampled_from(["bn", None])),
        ks=draw(st.sampled_from([3, 5, 7])),
        preproc=draw(st.booleans()) if single else True,
        glob_avg=draw(st.booleans()) or Genotype(*normal, *reduce).is_vit,
        stem_type=draw(st.integers(0, 1)),
        stem_pool=draw(st.booleans()),
        C_mult=draw(st.integers(1, 3)),
        fc_layers=draw(st.integers(1, 2)),
        fc_dim=draw(st.integers(1, 1000)),
    )


@given(architectures())
def test_dictionary_round_trip(architecture: Architecture) -> None:
    assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture


@given(st.lists(architectures(), min_size=1, max_size=5))
def test_table_round_trip(several: list[Architecture]) -> None:
    table = ArchitectureTable.from_architectures(several)
    assert [table[row] for row in range(len(table))] == several


GENOTYPE = Genotype((("msa", 0), ("none", 1)), (2,), (("cse", 0), ("none", 1)), (2,))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_cells", 0, "n_cells is 0; accepted: 1 to 255"),
        ("channels", 33, "channels is 33; accepted: a multiple of 8"),
        ("norm", "layer", "norm is 'layer'; accepted: 'bn' or None"),
        ("ks", 4, "ks is 4"),
        ("stem_type", 2, "stem_type is 2"),
        ("C_mult", 0, "C_mult is 0"),
        ("fc_layers", 3, "fc_layers is 3"),
        ("fc_dim", 0, "fc_dim is 0"),
    ],
)
def test_values_outside_of_the_design_space(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Architecture(GENOTYPE, 4), **{field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normal": [["conv_9x9", 0], ["none", 1]]}, "unknown operation 'conv_9x9' in the normal cell"),
        ({"normal": [["msa", 0], ["none", 2]]}, "edge 1 of the normal cell reads state 2; it may read 0 to 1"),
        ({"reduce": [["msa", 0]]}, "the reduce cell has 1 edges"),
        ({"reduce_concat": [3]}, r"reduce_concat is \(3,\); it lists distinct states from 2 to 2"),
        ({"normal_concat": []}, "normal_concat is"),
    ],
)
def test_bad_genotypes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Genotype.from_dict(GENOTYPE.to_dict() | change)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("genotype", 5, "the genotype is 5"),
        ("genotype", GENOTYPE.to_dict() | {"normal": 7}, "a cell is a list"),
        ("n_cells", 4.7, "n_cells is 4.7; accepted: an integer"),
        ("stem_pool", "False", "stem_pool is 'False'; accepted: True or False"),
        ("norm", "layer", "norm is 'layer'"),
    ],
)
def test_published_fields_of_the_wrong_type(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture.from_dict({"genotype": GENOTYPE.to_dict(), "n_cells": 4} | {field: value})


def test_missing_fields() -> None:
    with pytest.raises(ValueError, match="the architecture lacks n_cells"):
        Architecture.from_dict({"genotype": GENOTYPE.to_dict()})
    with pytest.raises(ValueError, match="the genotype lacks normal, reduce"):
        Genotype.from_dict({"normal_concat": [2], "reduce_concat": [2]})
    two_states = Genotype((("msa", 0), ("none", 1)) * 2, (2, 3), (("cse", 0), ("none", 1)) * 2, (2, 3))
    with pytest.raises(ValueError, match="preproc"):
        Architecture(two_states, 4, preproc=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_cell": 5}, "there is no field of an architecture 'n_cell'; did you mean n_cells"),
        ({3: 5}, "there is no field of an architecture 3; accepted: genotype, norm, n_cells"),
        ({"channels": 64}, "there is no field of an architecture 'channels'"),
    ],
)
def test_unknown_fields(fields: dict[Any, Any], message: str) -> None:
    """A misspelt one would be ignored; the counts in published files follow from the others."""
    known = {"genotype": GENOTYPE.to_dict(), "n_cells": 4}
    with pytest.raises(InputError, match=message):
        Architecture.from_dict(known | fields)
    assert Architecture.from_dict(known | {"num_nodes": 1, "num_params": {}}) == Architecture.from_dict(known)
    with pytest.raises(InputError, match="the architecture is 5; it is a mapping"):
        Architecture.from_dict(5)
