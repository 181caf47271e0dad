"""Image data sets: splits, hashes, batches and augmentation, on the digits."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ghn_models.images import datasets
from ghn_models.images.augment import sample_shifts, shift_and_mirror
from ghn_models.images.datasets import ImageTask, load_images
from ghn_models.images.decode import ImageError
from tests.support.noise_images import equal, stored

DIGITS = {
    "train": "d6d0f84b8e109ee2c676f33618eb8ec7c864068df7424a27bc6f63eb5dbc0f70",
    "val": "3776324d666f579c3c5bf4934376f3ac74c3d87c1c860c9e4bb470a8c6a01a55",
    "test": "68bac8bed01836fc1e4259bdec51d7fb26d8b808bd541bd7eb2a0bef4b922f8f",
}


@pytest.fixture(scope="module")
def digits() -> ImageTask:
    return load_images("digits")


def test_digits_are_pinned(digits: ImageTask) -> None:
    assert digits.hashes() == DIGITS
    assert (len(digits.train), len(digits.val), len(digits.test)) == (1197, 300, 300)
    assert (digits.num_classes, digits.image_size, digits.flip) == (10, 32, False)


@pytest.mark.parametrize("found", [True, False])
def test_digits_are_those_of_scikit_learn(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not found:
        monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    images, labels = datasets.read_digits()
    expected = load_digits()
    assert np.array_equal(images, expected.images)
    assert np.array_equal(labels, expected.target)
    assert (images.dtype, labels.dtype) == (expected.images.dtype, expected.target.dtype)


def test_the_split_is_stratified_and_disjoint(digits: ImageTask) -> None:
    parts = [stored(part) for part in (digits.train, digits.val, digits.test)]
    published = torch.cat([part.labels for part in parts]).bincount()
    for part in parts:
        share = part.labels.bincount() / published
        assert (share - len(part) / 1797).abs().max() < 0.01
    # No two of the digits are the same picture, so a shared image would show.
    pixels = torch.cat([part.images for part in parts])
    assert len(pixels.flatten(1).unique(dim=0)) == 1797


def test_training_images_are_normalized(digits: ImageTask) -> None:
    x = torch.cat([x for x, _ in digits.train.batches()])
    assert x.shape == (1197, 3, 32, 32)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)


def test_evaluation_is_in_order_and_complete(digits: ImageTask) -> None:
    batches = list(digits.test.batches(64))
    assert [len(y) for _, y in batches] == [64, 64, 64, 64, 44]
    assert torch.equal(torch.cat([y for _, y in batches]), digits.test.labels)


def test_epochs_depend_on_seed_and_epoch_alone(digits: ImageTask) -> None:
    def epoch(seed: int, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        return digits.train.shuffled(64, seed, number, start=start, crop=4, flip=True)

    torch.manual_seed(1)
    before = list(epoch(3, 5))
    torch.manual_seed(2)
    assert equal(iter(before), epoch(3, 5))
    assert equal(iter(before[7:]), epoch(3, 5, start=7))
    assert not any(torch.equal(before[0][0], next(epoch(*other))[0]) for other in ((3, 6), (4, 5)))
    assert len(before) == digits.train.steps(64) == 18
    assert list(epoch(3, 5, start=18)) == []


def test_an_epoch_has_an_image_once(digits: ImageTask) -> None:
    few = digits.train.class_balanced_subset(10)
    x, y = (torch.cat(column) for column in zip(*few.shuffled(50, 0, 0), strict=True))
    assert len(x.flatten(1).unique(dim=0)) == 100
    assert y.bincount().tolist() == [10] * 10
    assert [len(y) for _, y in few.shuffled(128, 0, 0)] == [100]


def test_sampling_follows_its_random_numbers(digits: ImageTask) -> None:
    (x, y), (again, _) = (digits.train.sample(32, np.random.default_rng(1), 4, True) for _ in range(2))
    assert x.shape == (32, 3, 32, 32)
    assert y.shape == (32,)
    assert torch.equal(x, again)


def test_moving_is_padding_cropping_and_mirroring() -> None:
    pictures = torch.randint(0, 256, (200, 3, 16, 16), dtype=torch.uint8)
    shifts = sample_shifts(200, np.random.default_rng(0), crop=3, flip=True)
    assert {tuple(m) for m in shifts[:, :2].tolist()} == {(i, j) for i in range(-3, 4) for j in range(-3, 4)}
    padded = torch.nn.functional.pad(pictures.float(), (3,) * 4, mode="reflect").byte()
    for moved, source, (down, right, mirrored) in zip(
        shift_and_mirror(pictures, shifts), padded, shifts.tolist(), strict=True
    ):
        expected = source[:, 3 + down : 19 + down, 3 + right : 19 + right]
        assert torch.equal(moved, expected.flip(2) if mirrored else expected)
    assert 70 < shifts[:, 2].sum() < 130


def test_augmentation_keeps_labels(digits: ImageTask) -> None:
    plain, moved = (list(digits.train.shuffled(64, 0, 0, crop=crop)) for crop in (0, 4))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(plain, moved, strict=True))
    changed = torch.cat([(a != b).flatten(1).any(1) for (a, _), (b, _) in zip(plain, moved, strict=True)])
    assert changed.float().mean() > 0.95  # 80 of 81 shifts


def test_few_images_of_each_class(digits: ImageTask) -> None:
    subset = digits.train.class_balanced_subset
    ten, three = stored(subset(10, seed=1)), stored(subset(3, seed=1))
    assert ten.labels.bincount().tolist() == [10] * 10
    assert ten.sha256() == subset(10, seed=1).sha256() != subset(10, seed=2).sha256()
    both = torch.cat([ten.images, three.images]).flatten(1)
    assert len(both.unique(dim=0)) == 100
    fewest = int(digits.train.labels.bincount().min())
    for wrong in (0, fewest + 1):
        with pytest.raises(ImageError, match=rf"^{wrong} images of each class are asked for; accepted: 1 to {fewest}$"):
            subset(wrong)


def test_sizes(digits: ImageTask) -> None:
    half, large = digits.train.resized(16), digits.train.resized(64)
    assert stored(half).images.shape == (1197, 3, 16, 16)
    assert stored(large).images.shape == (1197, 3, 32, 32)
    assert next(half.batches(5))[0].shape == (5, 3, 16, 16)
    assert next(large.shuffled(5, 0, 0, crop=4))[0].shape == (5, 3, 64, 64)
    blocks = stored(digits.train).images.float().mean((2, 3)) - stored(half).images.float().mean((2, 3))
    assert blocks.abs().max() < 1
    assert load_images("digits", image_size=48).image_size == 48


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_the_same(digits: ImageTask) -> None:
    part = digits.to("cuda").train
    for (a, m), (b, n) in zip(digits.train.shuffled(64, 0, 0, crop=4), part.shuffled(64, 0, 0, crop=4), strict=True):
        assert b.is_cuda
        torch.testing.assert_close(a, b.cpu())
        assert torch.equal(m, n.cpu())
    assert part.sha256() == DIGITS["train"]
    assert len(part.class_balanced_subset(3)) == 30


def test_names_and_sizes_that_are_not_accepted() -> None:
    accepted = "digits, cifar10, cifar100, fashion_mnist, imagenet, folder"
    with pytest.raises(ImageError, match=rf"^there is no image data set 'mnist'; accepted: {accepted}$"):
        load_images("mnist")
    with pytest.raises(ImageError, match="image_size is 4; it must be 8 or more"):
        load_images("digits", image_size=4)
