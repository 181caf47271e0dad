"""Splits of trained architectures (`deepnets.spaces`): their graphs and measurements as columns of a file."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.spaces.chain import chain_columns, chain_num_params
from deepnets.spaces.registry import get_space
from deepnets.spaces.timm_weights import architecture_of
from deepnets.storage.column_reader import Column, Columns, encode_vocabulary
from deepnets.storage.graph_file import encode_columns, encode_graphs
from deepnets.storage.joined_parts import MODELS
from deepnets.storage.truth_columns import truth_columns

SYMBOLIC_SHARD = 5000
"""Networks of a shard whose graphs follow from tables."""

TRACED_SHARD = 16
"""Networks of a shard whose graphs are traced, a few seconds each."""


def num_networks(split: str) -> int:
    """Return the number of architectures of a space."""
    return len(get_space(split).truth())


def shard_size(split: str) -> int:
    """Return how many networks are made at a time, and at most lost by a kill."""
    return TRACED_SHARD if get_space(split).chain is None else SYMBOLIC_SHARD


def space_columns(split: str, start: int, stop: int) -> Columns:
    """Return the columns of the networks start to stop of a space."""
    space = get_space(split)
    truth = space.truth()
    keys = truth.keys[start:stop]
    if space.chain is None:
        graphs, num_params = _traced(keys)
    else:
        chains = [space.chain(key, space.num_classes) for key in keys]
        graphs = encode_columns(*chain_columns(chains))
        num_params = [chain_num_params(chain) for chain in chains]
    values = np.column_stack([num_params, truth.values[start:stop]])
    return {MODELS: encode_vocabulary(keys), **graphs, **truth_columns(("params", *truth.names), values)}


def _traced(keys: Sequence[str]) -> tuple[dict[str, Column], list[int]]:
    """Trace models of timm and count their parameters; weights of one architecture with equal shapes have one graph."""
    from deepnets.networks.skip_init import build_on_meta
    from deepnets.tracing.model_loader import timm_model
    from deepnets.tracing.tracer import trace

    graphs: list[ArchGraph] = []
    num_params: list[int] = []
    before: object = None
    for key in keys:
        model = build_on_meta(partial(timm_model, key))
        same = architecture_of(key), [(name, parameter.shape) for name, parameter in model.named_parameters()]
        graphs.append(graphs[-1] if same == before else trace(model))
        num_params.append(sum(parameter.numel() for parameter in model.parameters()))
        before = same
    return encode_graphs(graphs), num_params
