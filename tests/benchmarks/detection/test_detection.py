"""Detection: data and their errors, boxes, average precision, backbones, training, records."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torch import nn
from torchvision.ops import box_iou

from benchmarks import run as command
from benchmarks.core.cli_options import RunOptions
from benchmarks.core.evaluation_networks import EvaluationNetwork, check_group, network_at
from benchmarks.core.protocol import Case
from benchmarks.detection import faster_rcnn
from benchmarks.detection import penn_fudan as pedestrians
from benchmarks.detection.average_precision import average_precision
from benchmarks.detection.backbones import Backbone
from benchmarks.detection.penn_fudan import PedestrianTask, boxes_of, load_pedestrians
from benchmarks.detection.synthetic_pedestrians import Synthetic, draw
from benchmarks.detection.synthetic_pedestrians import main as draw_command
from benchmarks.evaluation import run_config
from benchmarks.execution.jobs import evaluate
from benchmarks.execution.run_config import Job, RunConfig
from benchmarks.execution.run_context import load_run_context
from benchmarks.leaderboard import Submit
from benchmarks.protocols import detection
from benchmarks.published_results.paper_tables import published_rows
from benchmarks.records.record import read_rows
from benchmarks.records.record_files import read_record
from benchmarks.reporting.leaderboard_folder import LeaderboardFolder
from benchmarks.scoring.scorers import by_accuracy
from ghn_models.images.decode import ImageError

pytest.importorskip("pycocotools")

SUBJECT = EvaluationNetwork("test", 0, "test/0")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pedestrians") / "drawn"
    draw(Synthetic(folder, num=17, height=64))
    return folder


@pytest.fixture(scope="module")
def task(synthetic: Path) -> PedestrianTask:
    return load_pedestrians("pennfudan", synthetic, 224)


def small_network(width: int = 16, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, width, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


# Boxes and average precision


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 5)))
def test_boxes_are_those_of_the_pixels(mask: np.ndarray) -> None:
    expected = []
    for number in sorted({int(value) for value in mask.flat} - {0}):
        places = [(y, x) for y, row in enumerate(mask.tolist()) for x, value in enumerate(row) if value == number]
        rows, columns = zip(*places, strict=True)
        expected.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
    assert boxes_of(mask.astype(np.int64)).tolist() == expected


def test_average_precision_worked_by_hand() -> None:
    """Of three pedestrians two are found, with scores 0.9 and 0.7; between and behind them are boxes of nobody.

    Precision is 1 up to recall 1/3 (34 of 101 levels), 2/3 up to recall 2/3 (33 levels), then 0.
    """
    truth = [np.array([[0, 0, 10, 20], [40, 0, 50, 20]]), np.array([[5, 5, 15, 25]])]
    first = np.array([[0, 0, 10, 18], [70, 0, 80, 20], [20, 0, 30, 20]]), np.array([0.9, 0.8, 0.6])
    second = np.array([[5, 5, 15, 24]]), np.array([0.7])
    assert average_precision(truth, [first, second]) == pytest.approx((34 + 33 * 2 / 3) / 101)
    nothing = np.zeros((0, 4)), np.zeros(0)
    assert average_precision(truth, [nothing, nothing]) == 0
    # Half of the box is 0.5, which is enough; a second box on the same pedestrian is wrong.
    one = [np.array([[0, 0, 10, 20]])]
    assert average_precision(one, [(np.array([[0, 0, 10, 10]]), np.array([0.5]))]) == pytest.approx(1)
    assert average_precision(one, [(np.array([[0, 0, 10, 9.9]]), np.array([0.5]))]) == 0
    twice = np.array([[0, 0, 10, 10], [0, 0, 10, 20]]), np.array([0.9, 0.1])
    assert average_precision(one, [twice]) == pytest.approx(1)


def plain_average_precision(truth: list[np.ndarray], found: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Straight from the definition."""
    ranked = sorted(((-s, i, k) for i, (_, scores) in enumerate(found) for k, s in enumerate(scores)))
    taken: set[tuple[int, int]] = set()
    right, points = 0, []
    for rank, (_, image, k) in enumerate(ranked, 1):
        overlaps = box_iou(torch.tensor(found[image][0][k : k + 1]), torch.tensor(truth[image]))[0].tolist()
        free = [(o, t) for t, o in enumerate(overlaps) if o >= 0.5 and (image, t) not in taken]
        if free:
            taken.add((image, max(free)[1]))
            right += 1
        points.append((right / sum(map(len, truth)), right / rank))
    levels = [max((p for r, p in points if r >= level), default=0.0) for level in np.linspace(0, 1, 101)]
    return float(np.mean(levels))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_average_precision_follows_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corner, size = rng.uniform(0, 30, (count, 2)), rng.uniform(5, 15, (count, 2))
        return np.concatenate([corner, corner + size], 1)

    truth = [boxes(int(rng.integers(1, 4))) for _ in range(4)]
    results = []
    for part in truth:
        near = part[rng.random(len(part)) < 0.8]
        near = np.concatenate([near + rng.normal(0, 1, near.shape), boxes(int(rng.integers(0, 3)))])
        results.append((near, rng.random(len(near))))
    assert average_precision(truth, results) == pytest.approx(plain_average_precision(truth, results))
    assert average_precision(truth[::-1], results[::-1]) == pytest.approx(average_precision(truth, results))
    assert average_precision(truth, [(part, np.ones(len(part))) for part in truth]) == pytest.approx(1)


# Data


def test_synthetic_pedestrians_are_named_so_and_repeat_themselves(synthetic: Path, tmp_path: Path) -> None:
    draw(Synthetic(tmp_path / "again", num=3, height=64))
    for path in sorted((tmp_path / "again").rglob("*.png")):
        assert path.read_bytes() == (synthetic / path.relative_to(tmp_path / "again")).read_bytes()
    draw(Synthetic(tmp_path / "other", num=3, height=64, seed=1))
    again, other = (load_pedestrians("pennfudan", tmp_path / name, 224) for name in ("again", "other"))
    assert again.name == other.name == "synthetic_pedestrians"
    assert again.sha256 != other.sha256
    assert load_pedestrians("synthetic_pedestrians", tmp_path / "again", 32).sha256 == again.sha256
    for wrong in ({"num": 1}, {"height": 31}, {"height": 10**7}, {"seed": -1}):
        with pytest.raises(ValueError, match="num must be 2 or more, height 32 to 4096, seed 0 or more"):
            Synthetic(tmp_path / "wrong", **wrong)
    for scene in (*again.scenes, *other.scenes):
        height, width = scene.image.shape[1:]
        assert 1 <= len(scene.boxes) <= 3
        assert (scene.boxes >= 0).all()
        assert (scene.boxes <= torch.tensor([width, height, width, height])).all()
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        assert (sides[:, 1] > 0.4 * height).all()
        assert (sides[:, 1] > sides[:, 0]).all()


def unmark(folder: Path, num: int) -> None:
    """A folder of images that do not say that they are synthetic."""
    for part, name in (("PNGImages", "{}.png"), ("PedMasks", "{}_mask.png")):
        (folder / part).mkdir(parents=True)
        for i in range(num):
            mode = "RGB" if part == "PNGImages" else "L"
            Image.new(mode, (8, 6), (i,) * 3 if mode == "RGB" else 1).save(folder / part / name.format(i))


def test_penn_fudan_has_170_images(tmp_path: Path) -> None:
    unmark(tmp_path / "whole", 170)
    task = load_pedestrians("pennfudan", tmp_path / "whole", 224)
    assert task.name == "pennfudan"
    assert task.scenes[0].boxes.tolist() == [[0, 0, 8, 6]]
    train, test = task.split(0)
    assert (len(train), len(test)) == (120, 50)
    assert {id(scene) for scene in (*train, *test)} == {id(scene) for scene in task.scenes}
    assert [id(scene) for scene in task.split(0)[1]] == [id(scene) for scene in test]
    assert {id(scene) for scene in task.split(1)[1]} != {id(scene) for scene in test}
    with pytest.raises(ImageError, match="170 images that are not those of the stand-in"):
        load_pedestrians("synthetic_pedestrians", tmp_path / "whole", 224)


def remove(folder: Path) -> None:
    shutil.rmtree(folder / "PedMasks")


def empty(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.unlink()


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, image: Image.Image | bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        if isinstance(image, bytes):
            (folder / name).write_bytes(image)
        else:
            image.save(folder / name)

    return change


MASK, IMAGE = "PedMasks/Synthetic00001_mask.png", "PNGImages/Synthetic00001.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "FOLDER is not a folder; pedestrians are in PNGImages/NAME.png and PedMasks/NAME_mask.png"),
        (remove, "FOLDER/PedMasks is not a folder; pedestrians are in"),
        (empty, "FOLDER/PNGImages has no images (*.png)"),
        (without(MASK), f"FOLDER/{IMAGE} has no {MASK} beside it"),
        (without(IMAGE), f"FOLDER/{MASK} has no {IMAGE} beside it"),
        (write(IMAGE, b"GIF89a"), f"FOLDER/{IMAGE} is not a PNG image, or is damaged"),
        (write(MASK, b""), f"FOLDER/{MASK} is not a PNG image, or is damaged"),
        (write(MASK, Image.new("L", (10, 20), 1)), f"FOLDER/{MASK} has 10x20 pixels, and its image "),
        (write(MASK, Image.new("RGB", (10, 20))), f"FOLDER/{MASK} is a mask of mode RGB; it must have one channel"),
        (write(IMAGE, Image.new("RGB", (10, 20))), "FOLDER has 2 synthetic images among 3; it must have one kind"),
    ],
)
def test_wrong_folders_are_told_in_one_sentence(
    change: Callable[[Path], None],
    message: str,
    synthetic: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "some"
    for part, name in (("PNGImages", "Synthetic0000{}.png"), ("PedMasks", "Synthetic0000{}_mask.png")):
        (folder / part).mkdir(parents=True)
        for i in range(3):
            shutil.copy(synthetic / part / name.format(i), folder / part)
    change(folder)
    assert_refused(folder, message, tmp_path, monkeypatch, capsys)


def assert_refused(
    folder: Path, message: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(out)
    arguments = ["--model", "randinit", "--protocol", "detection", "--data-dir", str(folder)]
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    assert command.main() == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: " + message.replace("FOLDER", str(folder)))
    assert "\n" not in error


def test_other_bad_input(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    unmark(few, 3)
    assert_refused(few, "FOLDER has 3 images that are not the 170 of Penn-Fudan", tmp_path, monkeypatch, capsys)
    Image.new("L", (8, 6)).save(few / "PedMasks" / "0_mask.png")
    for path in few.rglob("[12]*.png"):
        path.unlink()
    monkeypatch.setattr(pedestrians, "_PENN_FUDAN_IMAGES", 1)
    assert_refused(few, "FOLDER has 1 image; it must have 2 or more", tmp_path, monkeypatch, capsys)
    monkeypatch.setattr(pedestrians, "find_spec", lambda name: None)
    assert_refused(few, "detection needs pycocotools, which is not installed: pip", tmp_path, monkeypatch, capsys)
    with pytest.raises(ImageError, match="no pedestrians 'cifar10'; accepted: pennfudan, synthetic_pedestrians"):
        load_pedestrians("cifar10", synthetic, 224)
    with pytest.raises(ValueError, match=r"resnet18\+resnet34 is an ensemble, which cannot be a backbone"):
        run_config(RunOptions("randinit", "detection", split=("resnet18+resnet34",)), detection.DetectionConfig())
    for wrong in ({"epochs": 0}, {"lr": float("nan")}, {"image_side": 8}):
        with pytest.raises(ValueError, match=rf"^detection.{next(iter(wrong))} is .+; accepted: "):
            detection.DetectionConfig(**wrong)
    monkeypatch.setattr(sys, "argv", ["synthetic", str(synthetic)])
    assert draw_command() == 2
    assert "exists; give a new folder" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["synthetic", str(tmp_path / "one"), "--num", "1"])
    assert draw_command() == 2
    assert "num must be 2 or more" in capsys.readouterr().err


def test_masks_without_pedestrians_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unmark(tmp_path / "a", 2)
    monkeypatch.setattr(pedestrians, "_PENN_FUDAN_IMAGES", 2)
    Image.new("L", (8, 6)).save(tmp_path / "a/PedMasks/1_mask.png")
    with pytest.raises(ImageError, match=r"1_mask.png has no pedestrian: all its pixels are 0"):
        load_pedestrians("pennfudan", tmp_path / "a", 224)


# Backbones


@pytest.mark.parametrize(
    ("group", "image_size", "channels", "stride", "head"),
    [
        ("resnet18", 32, 512, 8, "fc"),
        ("shufflenet_v2_x0_5", 224, 1024, 32, "fc"),
        ("test", 224, 128, 32, "classifier"),
        ("vit", 224, 128, 16, "classifier"),
        pytest.param("darts", 224, 768, 32, "classifier", marks=pytest.mark.slow),
        pytest.param("swin_t", 224, 768, 32, "head", marks=pytest.mark.slow),
        pytest.param("convnext_tiny", 224, 768, 32, "classifier", marks=pytest.mark.slow),
        pytest.param("resnet50", 224, 2048, 32, "fc", marks=pytest.mark.slow),
    ],
)
def test_backbones_are_networks_without_their_head(
    group: str, image_size: int, channels: int, stride: int, head: str
) -> None:
    """The head of the network, on the mean of the maps, gives its logits."""
    torch.manual_seed(0)
    network = network_at(group, 0).build(image_size, 2)[0].eval()
    classify = getattr(network, head)
    size = 224 if group == "vit" else 64
    images = torch.rand(1, 3, size, size)
    with torch.no_grad():
        logits = network(images)
        backbone = Backbone(network).eval()
        pooled = backbone(images).mean((2, 3), keepdim=group == "convnext_tiny")
        torch.testing.assert_close(classify(pooled), logits)
        assert backbone.out_channels == channels
        assert backbone(torch.rand(1, 3, 96, 160)).shape == (1, channels, 96 // stride, 160 // stride)


def test_the_classifier_of_squeezenet_is_no_part_of_the_backbone() -> None:
    assert Backbone(network_at("squeezenet1_1", 0).build(224, 2)[0]).out_channels == 512


def test_networks_that_cannot_be_backbones_fail_with_a_reason(synthetic: Path) -> None:
    plan = RunConfig(
        "detection",
        detection.DetectionConfig(1, 0.01, 64),
        "randinit",
        "pennfudan",
        ("vit_b_16",),
        str(synthetic),
        224,
    )
    for name in ("vit_b_16", "vit_b_16_gap"):
        row = evaluate(load_run_context(replace(plan, groups=(name,))), Job(name, 0, 0))
        assert row.status == "failed"
        assert row.reason.startswith("it has a sequence of patches before its classifier")
    plan = replace(plan, groups=("vit",), image_size=32)
    assert "give --image-size 224" in evaluate(load_run_context(plan), Job("vit", 0, 0)).reason


# Training


def test_learning_rate_warms_up_and_falls() -> None:
    rates = [faster_rcnn._rate(step, 60, 10) for step in range(600)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[30] == pytest.approx(1e-3 + (1 - 1e-3) * 30 / 59)
    assert rates[59:180] == [1.0] * 121
    assert rates[180] == pytest.approx(0.1)
    assert rates[360] == pytest.approx(0.01)
    assert rates[599] == pytest.approx(1e-3)
    assert [faster_rcnn._rate(step, 1, 1) for step in range(1)] == [1.0]


def test_mirrored_boxes_are_those_of_the_mirrored_mask() -> None:
    mask = np.zeros((5, 7), np.int64)
    mask[1:4, 2:4], mask[0, 6] = 1, 2
    image = torch.arange(35, dtype=torch.uint8).view(1, 5, 7).expand(3, 5, 7)
    scene = pedestrians.Scene(image, torch.from_numpy(boxes_of(mask)))
    flipped = faster_rcnn.mirrored(scene)
    assert flipped.boxes.tolist() == boxes_of(mask[:, ::-1].copy()).tolist()
    assert torch.equal(flipped.image[0, 0], torch.arange(6, -1, -1))
    assert torch.equal(faster_rcnn.mirrored(flipped).image, image)


def test_average_precision_rises_on_the_images_of_training(task: PedestrianTask) -> None:
    scenes = task.scenes[:4]
    torch.manual_seed(0)
    detector = faster_rcnn.faster_rcnn(small_network(), 64)
    before = faster_rcnn.precision(detector, scenes)
    steps, finite = faster_rcnn.train(detector, scenes, 2, 40, 0.05, seed=0)
    assert (steps, finite) == (80, True)
    assert faster_rcnn.precision(detector, scenes) > before + 0.1


def test_training_that_diverges_has_no_precision(task: PedestrianTask) -> None:
    result = detection.Detection().evaluate(
        Case(small_network(), task, 2, 0, SUBJECT, by_accuracy), detection.DetectionConfig(2, 1e30, 64)
    )
    assert result["ap50"] == 0
    assert float(result["steps"]) < 2 * 6
    assert set(result) == {*detection.Detection.metrics, *detection.Detection.columns}


def test_training_takes_no_random_numbers_of_the_next_network(task: PedestrianTask) -> None:
    """On a GPU, whose own generator draws regions and dropout, another network is made meanwhile."""
    detector = faster_rcnn.faster_rcnn(small_network(), 64)
    transform = detector.get_submodule("transform").train()
    state = torch.random.get_rng_state()
    transform([scene.image / 255 for scene in task.scenes[:2]])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_average_precision_rises_on_other_images(tmp_path: Path) -> None:
    """A minute on one core; 0.00 before, 0.68 after."""
    draw(Synthetic(tmp_path / "drawn", num=64, height=64))
    task = load_pedestrians("pennfudan", tmp_path / "drawn", 224)
    torch.manual_seed(0)
    before = faster_rcnn.precision(faster_rcnn.faster_rcnn(small_network(48), 64), task.split(0)[1])
    result = detection.Detection().evaluate(
        Case(small_network(48), task, 2, 0, SUBJECT, by_accuracy), detection.DetectionConfig(12, 0.05, 64)
    )
    assert float(result["ap50"]) > before + 0.3


# Records


def test_from_the_command_to_the_leaderboard(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = tmp_path / "few"
    draw(Synthetic(few, num=4, height=64))
    text = f"--model randinit --protocol detection --data-dir {few} --split test --num 1 --workers 1 --plot --out a"
    arguments = [*text.split(), "--device", "cpu", "--detection.epochs", "1", "--detection.image-side", "64"]
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    assert command.main() == 0
    assert "randinit on synthetic_pedestrians" in capsys.readouterr().out
    record, table = read_record(next((tmp_path / "a").glob("detection*.json")))
    assert record["dataset"]["name"] == "synthetic_pedestrians"
    assert (record["dataset"]["image_size"], record["dataset"]["classes"]) == (224, 2)
    assert record["results"]["test"]["failed"] == 0
    plan = RunConfig(
        "detection", detection.DetectionConfig(1, 0.005, 64), "randinit", "pennfudan", ("test",), str(few), 224
    )
    row = evaluate(load_run_context(plan), Job("test", 0, 2))
    assert row.values["ap50"] == read_rows(table)["ap50"][2]
    root = tmp_path / "leaderboards"
    (root / "runs").mkdir(parents=True)
    (root / "datasets.json").write_text("{}\n")
    assert Submit(tmp_path / "a", root).run() == 0
    assert list(LeaderboardFolder(root).problems()) == []
    line = next(line for line in (root / "detection.csv").read_text().splitlines() if line.startswith("randinit"))
    assert line.startswith('randinit,synthetic_pedestrians,"1 epoch, 64 pixels",ap50,')


def test_published_precision_is_in_percent() -> None:
    """Read off the papers by eye: a fraction in one, percent in the other."""
    rows = {(row.model, row.source): row for row in published_rows("detection")}
    assert rows["RandInit", "ppuda2021, Table 6"].values == {
        "resnet50": pytest.approx((19.7, 4.2 / 3**0.5)),
        "vit": pytest.approx((14.4, 1.0 / 3**0.5)),
        "darts": pytest.approx((48.6, 3.5 / 3**0.5)),
    }
    assert rows["GHN-3-XL/m16", "ghn3_2023, Table 8"].values["resnet152"] == pytest.approx((60.0, 5.2 / 3**0.5))
    assert len(rows) == 7 + 4
    for group in {"resnet50", *(group for row in rows.values() for group in row.values)}:
        check_group(group)
        assert group in detection.Detection.default_groups
