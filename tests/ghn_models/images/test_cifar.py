"""CIFAR-10 and CIFAR-100 in all forms: torchvision's files, PNG files, an archive; and what was kept of them."""

import io
import pickle
import tarfile
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from deepnets.utils.atomic_files import atomic_write
from ghn_models.images import cifar
from ghn_models.images.datasets import load_images
from ghn_models.images.decode import ImageError
from tests.support.noise_images import picture, stored

CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": tuple(f"class_{i:02}" for i in range(100)),
}
TRAIN, TEST = 10, 2  # images of each class
Pictures = dict[str, Image.Image]


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both data sets have few images, and the user's cache is empty."""
    made_up = {n: cifar._Published(p.torchvision_class, p.classes, TRAIN, TEST) for n, p in cifar._PUBLISHED.items()}
    monkeypatch.setattr(cifar, "_PUBLISHED", made_up)
    monkeypatch.setenv("DEEPNETS_HOME", str(tmp_path / "home"))


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pictures(name: str) -> Pictures:
    """Images by the name of their file."""
    return {
        f"{part}/{c}/{i:04}.png": picture(10_000 * j + 100 * i + k)
        for j, (part, count) in enumerate((("train", TRAIN), ("test", TEST)))
        for k, c in enumerate(CLASSES[name])
        for i in range(count)
    }


def write_folder(folder: Path, files: dict[str, Image.Image] | dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(content) if isinstance(content, Image.Image) else content)
    return folder


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as archive:
        directory = tarfile.TarInfo("train")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_batches(folder: Path, name: str, images: Pictures, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's files, in another order than others, whose hashes torchvision is told to expect."""
    reader = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    labels, meta = ("labels", "label_names") if name == "cifar10" else ("fine_labels", "fine_label_names")
    (folder / reader.base_folder).mkdir(parents=True)

    def write(file: str, content: object) -> list[str]:
        data = pickle.dumps(content)
        (folder / reader.base_folder / file).write_bytes(data)
        return [file, md5(data).hexdigest()]

    def batch(part: str) -> dict[str, object]:
        mixed = [n for n in sorted(images, key=lambda n: md5(n.encode()).digest()) if n.startswith(part)]
        rows = [np.array(images[n]).transpose(2, 0, 1).ravel() for n in mixed]
        return {"data": np.stack(rows), labels: [CLASSES[name].index(n.split("/")[1]) for n in mixed]}

    monkeypatch.setattr(reader, "train_list", [write("data_batch_1", batch("train"))])
    monkeypatch.setattr(reader, "test_list", [write("test_batch", batch("test"))])
    digest = write(reader.meta["filename"], {meta: list(CLASSES[name])})[1]
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": digest})
    return folder


def test_all_forms_are_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(name)
    files = {n: encoded(image) for n, image in reversed(images.items())}
    write_archive(tmp_path / "packed" / f"{name}_png.tar.xz", files)
    write_archive(tmp_path / "deeper" / f"{name}_png.tar.xz", {f"{name}_png/{n}": c for n, c in files.items()})
    folders = [
        write_batches(tmp_path / "batches", name, images, monkeypatch),
        write_folder(tmp_path / "plain", images),
        write_folder(tmp_path / "sub" / f"{name}_png", images).parent,
        tmp_path / "packed",
        tmp_path / "deeper",
    ]
    tasks = [load_images(name, folder) for folder in folders]
    assert all(task.hashes() == tasks[0].hashes() for task in tasks)
    assert all(task.classes == CLASSES[name] for task in tasks)
    task = tasks[0]
    count = len(CLASSES[name])
    assert [len(part) for part in (task.train, task.val, task.test)] == [9 * count, count, 2 * count]
    assert task.val.labels.bincount().tolist() == [1] * count
    assert len(set(task.train.labels[:9].tolist())) > 1  # not sorted by class
    known = {encoded(image): n for n, image in images.items()}
    for part, start in ((task.train, "train"), (task.val, "train"), (task.test, "test")):
        for image, label in zip(stored(part).images, part.labels.tolist(), strict=True):
            original_path = known.pop(encoded(Image.fromarray(image.permute(1, 2, 0).numpy())))
            assert original_path.startswith(f"{start}/{CLASSES[name][label]}/")
    assert not known


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_images_are_decoded_once(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures("cifar10")
    folder, files = tmp_path / "data", {n: encoded(image) for n, image in images.items()}

    def write() -> None:
        if form == "folder":
            write_folder(folder, files)
        else:
            write_archive(folder / "cifar10_png.tar.xz", files)

    write()
    first = load_images("cifar10", folder).hashes()
    kept = folder / "cifar10.safetensors"
    assert kept.is_file()
    with monkeypatch.context() as patch:
        patch.setattr(cifar, "open_rgb", lambda *_, **__: pytest.fail("it was decoded again"))
        assert load_images("cifar10", folder).hashes() == first
    # What was kept is damaged: a bit of a pixel, or half of the file.
    content = bytearray(kept.read_bytes())
    content[-1000] ^= 1
    for damaged in (bytes(content), bytes(content[:5000]), b"", b"hello"):
        kept.write_bytes(damaged)
        assert load_images("cifar10", folder).hashes() == first
    # Other images are decoded.
    files["train/cat/0003.png"] = encoded(picture(77, 32, 32))
    write()
    assert load_images("cifar10", folder).hashes() != first


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "data", pictures("cifar10"))

    def refuse(path: Path, content: bytes) -> None:
        if path.parent == folder:
            raise PermissionError
        atomic_write(path, content)

    monkeypatch.setattr(cifar, "atomic_write", refuse)
    first = load_images("cifar10", folder).hashes()
    assert [path.name for path in folder.iterdir() if path.is_file()] == []
    assert len(list((tmp_path / "home" / "images").glob("cifar10-*.safetensors"))) == 1
    monkeypatch.setattr(cifar, "open_rgb", lambda *_, **__: pytest.fail("it was decoded again"))
    assert load_images("cifar10", folder).hashes() == first


def test_a_changed_cifar10_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batches(tmp_path, "cifar10", pictures("cifar10"), monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(path.read_bytes() + b".")
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    message = (
        r"cifar-10-batches-py is not an intact cifar10 \(Dataset not found or corrupted\); "
        r"fetch it with .*download=True"
    )
    with pytest.raises(ImageError, match=message):
        load_images("cifar10", tmp_path)


@pytest.mark.parametrize("form", ["folder", "archive"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test/cat/0001.png", None, r"is not a complete CIFAR-10; it has 119 images of 10 classes$"),
        ("train/cat/0010.png", encoded(picture(0)), r"is not a complete CIFAR-10; it has 121 images of 10 classes$"),
        ("train/cat/0003.png", b"GIF89a", r"train/cat/0003\.png of .* is not an image, or is damaged"),
        ("train/cat/0003.png", encoded(picture(0))[:400], r"train/cat/0003\.png of .* is not an image, or is damaged"),
        ("train/cat/0003.png", encoded(Image.new("RGB", (64, 32))), r"0003\.png of .* has 64x32 pixels; it must have"),
    ],
)
def test_other_content(form: str, tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    images = {n: encoded(image) for n, image in pictures("cifar10").items()}
    files = {n: c for n, c in {**images, name: content}.items() if c is not None}
    folder = tmp_path / "data"
    if form == "folder":
        write_folder(folder, files)
    else:
        write_archive(folder / "cifar10_png.tar.xz", files)
    with pytest.raises(ImageError, match=message):
        load_images("cifar10", folder)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train/cat/0003.png", encoded(picture(0, 640, 480))),
        ("../cat/0003.png", encoded(picture(0))),
        ("train/cat/run.pkl", b""),
    ],
)
def test_archives_of_other_files(tmp_path: Path, name: str, content: bytes) -> None:
    path = write_archive(tmp_path / "cifar10_png.tar.xz", {name: content})
    with pytest.raises(ImageError, match=r"which is not a small train/CLASS/\*\.png or test/CLASS/\*\.png$") as error:
        load_images("cifar10", tmp_path)
    assert repr(name) in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_archives_with_links(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar10_png.tar.xz", "w:xz") as archive:
        link = tarfile.TarInfo("train/cat/0000.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ImageError, match="which is not a small"):
        load_images("cifar10", tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "no archive"])
def test_damaged_archives(tmp_path: Path, damage: str) -> None:
    files = {n: encoded(image) for n, image in pictures("cifar10").items()}
    path = write_archive(tmp_path / "cifar10_png.tar.xz", files)
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + 50] = bytes(50)
    changed = {
        "truncated": bytes(content[:half]),
        "changed": bytes(content),
        "empty": b"",
        "no archive": b"hello" * 1000,
    }
    path.write_bytes(changed[damage])
    with pytest.raises(ImageError, match=r"cifar10_png\.tar\.xz is damaged \(.*\)$"):
        load_images("cifar10", tmp_path)


def test_mean_and_deviation_are_of_the_training_images(tmp_path: Path) -> None:
    task = load_images("cifar10", write_folder(tmp_path, pictures("cifar10")))
    images = stored(task.train).images.double() / 255
    torch.testing.assert_close(task.train.mean, images.mean((0, 2, 3)).float())
    torch.testing.assert_close(task.train.std, images.transpose(0, 1).flatten(1).std(1).float())
