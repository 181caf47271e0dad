"""Images in files: published archives, folders, and those that are missing or damaged."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from ghn_models.images import augment, splits
from ghn_models.images import datasets as images
from ghn_models.images.augment import random_square
from ghn_models.images.datasets import ImageTask, load_images
from ghn_models.images.decode import ImageError, open_rgb
from ghn_models.images.splits import ImageFiles
from tests.support.noise_images import equal, picture, stored


@pytest.mark.parametrize("name", [name for name in images.data_sets() if name != "digits"])
def test_missing_data(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=rf"^the images of {name} need the folder"):
        load_images(name)
    with pytest.raises(ImageError, match=r"gone is not a folder"):
        load_images(name, tmp_path / "gone")
    with pytest.raises(ImageError) as error:
        load_images(name, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def test_fashion_mnist_is_padded_and_made_colour(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8)
    for name, count in (("train", 20), ("t10k", 10)):
        write_idx(raw / f"{name}-images-idx3-ubyte", pictures[:count])
        write_idx(raw / f"{name}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    task = load_images("fashion_mnist", tmp_path)
    first = stored(task.train).images[0]
    assert len(task.val) == 2
    assert first.shape == (3, 32, 32)
    assert torch.equal(first[1, 2:30, 2:30], torch.from_numpy(pictures[0]))
    assert first[:, :2].sum() + first[:, 30:].sum() == 0
    (raw.parent / "processed").mkdir()
    with pytest.raises(ImageError, match="processed has files of an old torchvision"):
        load_images("fashion_mnist", tmp_path)
    (raw.parent / "processed").rmdir()
    write_idx(raw / "train-labels-idx1-ubyte", np.zeros(7, np.uint8))
    with pytest.raises(ImageError, match=r"is not an intact fashion_mnist \(labels are missing\)"):
        load_images("fashion_mnist", tmp_path)


def write_folder(folder: Path, classes: tuple[str, ...], parts: dict[str, int]) -> None:
    """Noise of several sizes and modes."""
    for part, count in parts.items():
        for k, c in enumerate(classes):
            path = folder / part / c
            path.mkdir(parents=True)
            for i in range(count):
                image = picture(100 * k + i + len(part), 40 + 3 * i, 30 + 2 * i, mode="L" if i % 2 else "RGB")
                image.save(path / f"{i:03}.{'png' if i % 3 else 'jpg'}")


def test_a_folder_of_images(tmp_path: Path) -> None:
    write_folder(tmp_path, ("bad", "good"), {"train": 20, "test": 6})
    task = load_images("folder", tmp_path)
    assert [len(part) for part in (task.train, task.val, task.test)] == [36, 4, 12]
    assert task.val.labels.bincount().tolist() == [2, 2]
    assert 0 < task.test.labels[:8].sum() < 8  # not sorted by class
    assert next(task.train.batches(7))[0].shape == (7, 3, 32, 32)
    assert load_images("folder", tmp_path, image_size=20).image_size == 20


def test_a_folder_with_its_own_val(tmp_path: Path) -> None:
    write_folder(tmp_path, ("bad", "good"), {"train": 10, "val": 4, "test": 6})
    task = load_images("folder", tmp_path)
    assert [len(part) for part in (task.train, task.val, task.test)] == [20, 8, 12]


def test_the_centre_of_mixed_sizes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for c, size in (("tall", (16, 48)), ("wide", (96, 32))):
            (tmp_path / part / c).mkdir(parents=True)
            image = Image.new("L", size, 255)
            width, height = size
            image.paste(0, (width // 3, 0, 2 * width // 3, height) if c == "wide" else (0, 16, 16, 32))
            for i in range(4):
                image.save(tmp_path / part / c / f"{i}.png")
    task = load_images("folder", tmp_path)
    assert stored(task.test).images.float().mean() < 20  # the black squares, and what the resizing smears


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    write_folder(tmp_path, ("a", "b"), {"train": 2})
    with pytest.raises(ImageError, match=r"must have images in train/CLASS/ and val/CLASS/ or test/CLASS/$"):
        load_images("folder", tmp_path)
    write_folder(tmp_path, ("a",), {"test": 2})
    with pytest.raises(ImageError, match="has the class 'b' in only one of train and test"):
        load_images("folder", tmp_path)
    (tmp_path / "test" / "b").mkdir()
    with pytest.raises(ImageError, match="must have images in train/CLASS/ and val/CLASS/ or test/CLASS/ "):
        load_images("folder", tmp_path)
    (tmp_path / "test" / "b" / "0.png").write_bytes(b"%!PS-Adobe-3.0")
    with pytest.raises(ImageError, match=r"b/0\.png is not an image, or is damaged"):
        load_images("folder", tmp_path)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageTask:
    """A folder that is taken to be too large for memory."""
    monkeypatch.setattr(images, "_MAX_STORED_BYTES", 0)
    write_folder(tmp_path / "\u00e4", ("bad", "good"), {"train": 12, "test": 5})
    return load_images("folder", tmp_path / "\u00e4", workers=2)


def test_images_in_files(files: ImageTask) -> None:
    assert isinstance(files.train, ImageFiles)
    batches = list(files.test.batches(4))
    assert [x.shape for x, _ in batches] == [(4, 3, 32, 32), (4, 3, 32, 32), (2, 3, 32, 32)]
    assert torch.equal(torch.cat([y for _, y in batches]), files.test.labels)
    single = next(files.test.batches(10))
    assert torch.equal(torch.cat([x for x, _ in batches]), single[0])  # read by processes, and by threads
    assert files.hashes() == {"train": None, "val": None, "test": None}
    assert files.train.class_balanced_subset(2).labels.bincount().tolist() == [2, 2]
    assert next(files.train.resized(24).batches(3))[0].shape == (3, 3, 24, 24)


@pytest.mark.parametrize("batch_size", [4, 10])
def test_damaged_files_are_a_sentence(files: ImageTask, batch_size: int, tmp_path: Path) -> None:
    """Whether processes read them or threads."""
    for path in tmp_path.rglob("test/*/*"):
        path.write_bytes(b"GIF89a")
    with pytest.raises(ImageError, match=r"^\S+ is not an image, or is damaged \([^\n]*\)$"):
        list(files.test.batches(batch_size))


def test_processes_that_may_not_start_others_read_files_themselves(
    files: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a Dask cluster are such."""
    before = list(files.test.batches(4))
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    assert equal(iter(before), files.test.batches(4))


def test_killed_readers_are_of_no_network(files: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends, and goes on once there is memory, where networks would have failed."""
    monkeypatch.setattr(splits, "open_rgb", lambda path, name: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ImageError, match=r"^images cannot be read \(DataLoader worker [^\n]*\)$"):
        list(files.test.batches(4))


def test_epochs_of_images_in_files(files: ImageTask) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    before = list(files.train.shuffled(8, 1, 2, crop=4, flip=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(before) == files.train.steps(8) == 2
    assert equal(iter(before[1:]), files.train.shuffled(8, 1, 2, start=1, crop=4, flip=True))
    assert list(files.train.shuffled(8, 1, 2, start=2, crop=4)) == []
    plain = list(files.train.shuffled(8, 1, 2))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(before, plain, strict=True))
    assert not any(
        torch.equal(a, b) for (x, _), (y, _) in zip(before, plain, strict=True) for a, b in zip(x, y, strict=True)
    )
    x, _ = files.train.sample(5, np.random.default_rng(0), 4, True)
    assert torch.equal(x, files.train.sample(5, np.random.default_rng(0), 4, True)[0])


def test_mirrored_files(files: ImageTask) -> None:
    plain, mirrored = (next(files.train.shuffled(20, 0, 0, flip=flip))[0] for flip in (False, True))
    flipped = torch.tensor([torch.equal(a.flip(2), b) for a, b in zip(plain, mirrored, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(plain, mirrored, strict=True)])
    assert (flipped ^ same).all()
    assert 0 < flipped.sum() < 20


def test_random_squares_are_those_of_torchvision() -> None:
    cut = torchvision.transforms.RandomResizedCrop
    image = Image.new("RGB", (100, 60))
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    own = np.array([augment._random_box(100, 60, rng) for _ in range(4000)])
    theirs = np.array(
        [cut.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    )  # top, left, height, width
    own = np.stack([own[:, 1], own[:, 0], own[:, 3] - own[:, 1], own[:, 2] - own[:, 0]], 1)
    np.testing.assert_allclose(own.mean(0), theirs.mean(0), atol=0.8)
    np.testing.assert_allclose(own.std(0), theirs.std(0), atol=0.8)
    assert random_square(Image.new("RGB", (500, 20)), 32, rng).size == (32, 32)


def test_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, ("n01440764", "n01443537"), {"train": 4, "val": 2})
    with pytest.raises(ImageError, match="has 2 classes, and ImageNet has 1000; its name is 'folder'"):
        load_images("imagenet", tmp_path)
    picture(0).save(tmp_path / "one.jpg")
    for part in ("train", "val"):
        for i in range(998):
            (folder := tmp_path / part / f"n1{i:07}").mkdir()
            (folder / "one.JPEG").symlink_to(tmp_path / "one.jpg")
    monkeypatch.setattr(images, "_IMAGENET_HELD_OUT", 6)
    task = load_images("imagenet", tmp_path, workers=1)
    assert [len(part) for part in (task.train, task.val, task.test)] == [1000, 6, 1002]
    assert task.image_size == 224
    x, _ = next(task.train.class_balanced_subset(1).shuffled(3, 0, 0, crop=4, flip=True))
    assert x.shape == (3, 3, 224, 224)
    torch.testing.assert_close(task.train.mean, torch.tensor(images.IMAGENET_MEAN))


@pytest.mark.parametrize(
    ("mode", "suffix", "kind"), [("I;16", ".png", "I;16"), ("I", ".tiff", "I"), ("F", ".tiff", "F")]
)
def test_pixels_of_more_than_8_bits_are_refused(mode: str, suffix: str, kind: str, tmp_path: Path) -> None:
    """Pillow clips them to 255, which makes a white or a black image."""
    file = tmp_path / f"a{suffix}"
    Image.fromarray(np.full((40, 40), 1000, np.uint16 if mode == "I;16" else np.int32)).convert(mode).save(file)
    with pytest.raises(ImageError, match=rf"has pixels of the kind {kind}(;16)?; accepted: at most 8 bits"):
        open_rgb(file, str(file))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pixels_of_8_bits_or_less_are_read(mode: str, tmp_path: Path) -> None:
    Image.new("RGB", (9, 7), (200, 200, 200)).convert(mode).save(tmp_path / "a.png")
    assert open_rgb(tmp_path / "a.png", "a.png").size == (9, 7)


def test_endless_strips_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (1, 30_000)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"^a.png has 1x30000 pixels; one side may be at most 100 times the other$"):
        open_rgb(tmp_path / "a.png", "a.png")


def test_links_in_a_circle_and_pipes_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, ("a", "b"), {"train": 3, "val": 2})
    shared = tmp_path / "elsewhere"
    (tmp_path / "train" / "a").rename(shared)
    (tmp_path / "train" / "a").symlink_to(shared)  # as many people keep subsets
    assert len(load_images("folder", tmp_path, 16).train) > 0

    loop = shared / "loop"
    loop.symlink_to(tmp_path / "train")
    with pytest.raises(ImageError, match=r"a/loop is a link to a folder that it is in; remove it"):
        load_images("folder", tmp_path, 16)
    loop.unlink()
    os.mkfifo(shared / "x.png")
    with pytest.raises(ImageError, match=r"a/x\.png is a broken link, or no regular file; remove it"):
        load_images("folder", tmp_path, 16)
