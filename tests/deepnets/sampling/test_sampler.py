"""The sampling rules: reproducible, within the published ranges, and with the published statistics."""

import gzip
import json

import numpy as np
import pytest
from scipy.stats import ks_2samp

from deepnets.design_space.architecture_table import NO_EDGE
from deepnets.design_space.genotype import OPERATION_INDEX, OPERATIONS
from deepnets.design_space.image_sizes import IMAGE_SIZES
from deepnets.graphs.primitives import PRIMITIVES
from deepnets.sampling.evaluation_widths import EVALUATION_PARAMETERS
from deepnets.sampling.sampler import Networks, sample_networks
from deepnets.sampling.splits import SPLITS
from deepnets.symbolic.builder import count_parameters
from tests.support.paths import GOLDEN

PUBLISHED = json.loads(gzip.decompress((GOLDEN / "published_params.json.gz").read_bytes()))

# Primitive shares of the train split in percent: DeepNets-1M paper, Table 1.
TRAIN_SHARES = {
    "conv": 36.3,
    "bn": 25.5,
    "sum": 11.1,
    "bias": 6.5,
    "sep_conv": 5.1,
    "concat": 3.8,
    "dil_conv": 2.5,
    "ln": 2.5,
    "max_pool": 1.8,
    "avg_pool": 1.7,
    "msa": 1.2,
    "cse": 1.0,
    "input": 0.5,
    "glob_avg": 0.5,
    "pos_enc": 0.2,
}


def columns(networks: Networks, rows: slice) -> dict[str, np.ndarray]:
    index = np.arange(len(networks.table))[rows]
    graphs = networks.graphs.take(index)
    table = networks.table.take(index)
    channels = {f"channels_{size}": networks.channels(size)[index] for size in IMAGE_SIZES}
    num_params = {f"num_params_{size}": networks.num_params(size)[index] for size in IMAGE_SIZES}
    return {**vars(graphs), **vars(table), **channels, **num_params}


@pytest.mark.parametrize("split", ["train", "val", "deep", "dense", "search", "wide"])
def test_a_network_depends_on_seed_split_and_index_only(split: str) -> None:
    whole = sample_networks(split, 0, 60, seed=5)
    for start, stop in ((0, 1), (17, 18), (3, 41), (59, 60)):
        part = columns(sample_networks(split, start, stop, seed=5), slice(None))
        expected = columns(whole, slice(start, stop))
        for name, column in part.items():
            if name in ("ops", "inputs"):  # padded to the most edges in the part
                width = column.shape[2]
                assert (expected[name][..., width:] == NO_EDGE).all()
                expected[name] = expected[name][..., :width]
            assert np.array_equal(column, expected[name]), name


def test_seeds_and_splits_differ() -> None:
    base = sample_networks("val", 0, 50, seed=0).num_params(32)
    assert not np.array_equal(base, sample_networks("val", 0, 50, seed=1).num_params(32))
    assert not np.array_equal(base, sample_networks("test", 0, 50, seed=0).num_params(32))


@pytest.mark.parametrize("split", SPLITS)
def test_rules_of_the_split(split: str) -> None:
    rules, networks = SPLITS[split], sample_networks(split, 0, 400, seed=2)
    table = networks.table
    steps = (table.ops[:, 0] != NO_EDGE).sum(axis=1) // 2
    assert table.n_cells.min() >= rules.n_cells[0]
    assert table.n_cells.max() <= rules.n_cells[1]
    certainly_deep = table.n_cells > rules.deep[1]
    assert steps.min() >= rules.steps[0]
    assert steps.max() <= rules.steps[1]
    assert steps[certainly_deep].max() <= rules.deep_steps[1]
    assert max(networks.num_params(32).max(), networks.num_params(224).max()) <= rules.max_params
    assert (table.preproc | ((steps == 1) & (table.C_mult == 1))).all()
    assert (table.glob_avg | ~(table.is_vit | certainly_deep)).all()
    assert not (table.stem_pool & (table.stem_type == 1)).any()
    if rules.norm is None:
        assert not table.bn.any()
    else:
        assert table.bn[(table.n_cells > rules.n_cells[0] + 1) | (rules.norm == "bn")].all()
    single_step = (steps == 1)[:, None, None]
    assert not ((table.ops == OPERATION_INDEX["none"]) & single_step).any()
    for op in ("cse",), ("conv_5x5", "conv_7x7"):
        assert (np.isin(table.ops, [OPERATION_INDEX[o] for o in op]).sum(axis=2) <= 1).all()


def test_uniform_choices() -> None:
    """Unconditioned choices are uniform to within five standard errors."""
    table = sample_networks("train", 0, 20_000, seed=4).table
    for column, share in {"stem_type": 1 / 2, "fc_layers": 1 / 2, "ks": 1 / 3, "C_mult": 1 / 2}.items():
        highest = getattr(table, column) == getattr(table, column).max()
        assert abs(highest.mean() - share) < 5 * (share * (1 - share) / len(table)) ** 0.5, column
    two_steps = (table.ops[:, 0] != NO_EDGE).sum(axis=1) == 4
    second = table.inputs[two_steps][:, 0, 2:4]
    assert (second[:, 0] != second[:, 1]).all()
    pairs = np.bincount(3 * second[:, 0] + second[:, 1], minlength=9)
    expected = two_steps.sum() / 6  # ordered pairs of three states
    assert (abs(pairs[pairs > 0] - expected) < 5 * expected**0.5).all()
    # No check concerns these, so they are equally frequent.
    unconditioned = [OPERATIONS.index(op) for op in ("max_pool_3x3", "avg_pool_3x3", "skip_connect")]
    counts = np.bincount(table.ops[:, 0].ravel(), minlength=256)[unconditioned]
    assert (abs(counts - counts.mean()) < 5 * counts.mean() ** 0.5).all()


def test_primitive_shares_of_train() -> None:
    op = sample_networks("train", 0, 20_000, seed=0).graphs.op
    shares = 100 * np.bincount(op, minlength=len(PRIMITIVES)) / len(op)
    for name, share in zip(PRIMITIVES, shares, strict=True):
        assert abs(share - TRAIN_SHARES[name]) < 0.5, name


def test_evaluation_width_is_the_smallest() -> None:
    networks = sample_networks("test", 0, 60, seed=7)
    channels = networks.channels(32)
    assert (count_parameters(networks.table.with_channels(channels), 32, 10) >= EVALUATION_PARAMETERS).all()
    narrower = count_parameters(networks.table.with_channels(np.maximum(channels - 16, 32)), 32, 10)
    assert ((narrower < EVALUATION_PARAMETERS) | (channels == 32)).all()
    wide = sample_networks("wide", 0, 20, seed=7)
    assert (wide.channels(32) == 2 * wide.channels(224)).all()


@pytest.mark.parametrize("splits", [("val", "test"), ("wide",), ("deep",), ("dense",), ("bnfree",)], ids="+".join)
def test_parameter_counts_cannot_be_told_from_the_published(splits: tuple[str, ...]) -> None:
    for dataset, p in published_p_values(splits).items():
        assert p > 0.01, (splits, dataset, p)


def published_p_values(splits: tuple[str, ...]) -> dict[str, float]:
    """Two-sample Kolmogorov-Smirnov p of the parameters of the full splits at their width, on both image sizes."""
    networks = [sample_networks(split, 0, SPLITS[split].size) for split in splits]
    result = {}
    for dataset, image_size, num_classes in (("cifar10", 32, 10), ("imagenet", 224, 1000)):
        ours = [count_parameters(n.architectures(image_size), image_size, num_classes) for n in networks]
        published = np.concatenate([PUBLISHED[dataset][split] for split in splits])
        result[dataset] = float(ks_2samp(np.concatenate(ours), published).pvalue)
    return result


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="there is no split 'foo'; accepted: train, val"):
        sample_networks("foo", 0, 1)
    with pytest.raises(ValueError, match="the range of networks is 5 to 5"):
        sample_networks("val", 5, 5)
