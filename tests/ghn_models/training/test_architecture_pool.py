"""The networks that a GHN is trained on: limits, where they come from, widths and strides."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deepnets.datasets.generation import generate, split_path
from deepnets.design_space.architecture_table import NO_EDGE
from deepnets.design_space.genotype import MAX_STEPS
from deepnets.networks.network import Network
from deepnets.sampling.sampler import sample_networks
from deepnets.sampling.training_widths import sample_stride2_stems
from ghn_models.training import architecture_pool as architectures
from ghn_models.training.architecture_pool import ArchitecturePool, SizeLimits, halve_stem_stride, training_networks


def test_limits_of_meta_batches() -> None:
    pool = ArchitecturePool(None, 500, 32, 10, seed=0)
    for number in range(20):
        networks = pool.sample(number, 4, SizeLimits(nodes=(150, 150), meta_batch_nodes=400))
        sizes = [len(network.graph) for network in networks]
        assert max(sizes) <= 150
        assert sum(sizes) <= 400
        again = pool.sample(number, 4, SizeLimits(nodes=(150, 150), meta_batch_nodes=400), share=slice(1, None, 2))
        assert [network.architecture for network in again] == [network.architecture for network in networks[1::2]]
    with pytest.raises(ValueError, match="more than 20 nodes; use smaller ones"):
        pool.sample(0, 4, SizeLimits(meta_batch_nodes=20))
    with pytest.raises(ValueError, match="none of 500 architectures has at most 2 cells"):
        pool.sample(0, 4, SizeLimits(n_cells=(2, 2)))


def test_architectures_of_a_file_are_those_drawn_on_the_fly(tmp_path: Path) -> None:
    generate(split_path(tmp_path, "train"), "train", num=50)
    stored, drawn = (ArchitecturePool(root, 50, 32, 10, seed=0) for root in (tmp_path, None))
    for number in range(3):
        a, b = (pool.sample(number, 4, SizeLimits()) for pool in (stored, drawn))
        assert [network.architecture for network in a] == [network.architecture for network in b]
    assert stored.sha256() == drawn.sha256()
    with pytest.raises(ValueError, match="has 50 networks, but 51 are asked for"):
        ArchitecturePool(tmp_path, 51, 32, 10, seed=0)


def test_other_architectures_have_another_digest() -> None:
    pool = ArchitecturePool(None, 50, 32, 10, seed=0)
    digest = pool.sha256()
    padding = ((0, 0), (0, 0), (0, 2 * MAX_STEPS - pool.table.ops.shape[2]))
    ops, inputs = (np.pad(edges, padding, constant_values=NO_EDGE) for edges in (pool.table.ops, pool.table.inputs))
    pool.table = replace(pool.table, ops=ops, inputs=inputs)  # as in a file with room for more edges
    assert pool.sha256() == digest
    pool.table = replace(pool.table, stem_pool=~pool.table.stem_pool)
    assert pool.sha256() != digest


def test_networks_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million graphs do not fit into memory."""
    whole = ArchitecturePool(None, 1050, 32, 10, seed=0)
    monkeypatch.setattr(architectures, "SHARD_SIZE", 100)
    tracemalloc.start()
    pool = ArchitecturePool(None, 1050, 32, 10, seed=0)
    assert tracemalloc.get_traced_memory()[1] < 8e6  # 32 kB for each of 100 networks, and what is kept
    tracemalloc.stop()
    assert pool.sha256() == whole.sha256()


def test_networks_take_larger_maps() -> None:
    rows = sample_networks("train", 0, 200).table
    simple = (rows.stem_type == 0) & ~rows.is_vit & rows.glob_avg
    network = training_networks([rows[int(np.flatnonzero(simple)[0])]], 224, 10)[0].module
    assert first_stride(network) == 4
    halve_stem_stride(network)
    assert first_stride(network) == 2
    assert network(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 10)


def first_stride(network: Network) -> int:
    first = network.stem[0]
    assert isinstance(first, nn.Conv2d)
    return first.stride[0]


def test_small_wider_networks_have_larger_maps() -> None:
    """The conditions of GHN-3's public loader; each of them decides for some network."""
    networks = sample_networks("train", 0, 20_000)
    table, params = networks.table, networks.num_params(32)
    stride2 = sample_stride2_stems(table, params, np.random.default_rng(0))
    possible, reasons = [], set()
    for i in range(len(table)):
        architecture = table[i]
        ops = {op for op, _ in architecture.genotype.normal + architecture.genotype.reduce}
        against = {
            "params": params[i] > 0.2e6,
            "cells": architecture.n_cells > 8,
            "kernels": bool(ops & {"conv_5x5", "conv_7x7"}),
            "head": not architecture.glob_avg,
            "pool": not architecture.stem_pool,
            "stem": architecture.stem_type == 1,
            "vit": architecture.is_vit,
        }
        why = [reason for reason, holds in against.items() if holds]
        possible.append(not why)
        reasons |= set(why) if len(why) == 1 else set()
    assert not stride2[~np.array(possible)].any()
    assert 0.35 < stride2[np.array(possible)].mean() < 0.65
    assert reasons >= {"params", "cells", "kernels", "head", "pool", "vit"}


def test_meta_batches_have_small_strides() -> None:
    pool = ArchitecturePool(None, 2000, 224, 10, seed=0, ghn3_imagenet_widths=True)
    assert (pool.params == ArchitecturePool(None, 2000, 32, 10, seed=0).params).all()
    limits = SizeLimits(n_cells=(8, 8), params=(2e5, 2e5), meta_batch_nodes=20_000)
    networks = pool.sample(0, 100, limits)
    strides = [first_stride(n.module) for n in networks if hasattr(n.module, "stem")]
    assert set(strides) == {2, 4}
    share = pool.sample(0, 100, limits, share=slice(1, None, 2))
    assert [str(network.module) for network in share] == [str(network.module) for network in networks[1::2]]


def test_a_pool_is_of_the_train_split(tmp_path: Path) -> None:
    generate(split_path(tmp_path, "train"), "search", num=5, workers=1)
    with pytest.raises(ValueError, match=r"deepnets1m_train\.hdf5 has networks of search; GHNs are trained"):
        ArchitecturePool(tmp_path, 5, 32, 10, 0)
