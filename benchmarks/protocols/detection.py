"""Average precision of a pedestrian detector: Faster R-CNN, trained from the first parameters of its backbone.

DeepNets paper, section 5.3 and Table 6; GHN-3 paper, section 5.3 and Table 8. Both follow the detection tutorial of
PyTorch, whose hyperparameters are the defaults here. The row `vit` of the papers is of that network with another stem,
convolutions in place of patches of 16x16 pixels and the encoding of the position; here it is the network of the split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.core.protocol import Case, Protocol, Result
from benchmarks.core.protocol_settings import check_setting, describe_nondefault, format_count, is_positive
from deepnets.utils.errors import InputError

if TYPE_CHECKING:
    from benchmarks.detection.penn_fudan import PedestrianTask


@dataclass(frozen=True)
class DetectionConfig:
    """Settings of detection.

    Args:
        epochs: number of training epochs; the learning rate falls to a tenth after each 30% of them.
        lr: learning rate at the start.
        image_side: pixels that the shorter side of photographs is resized to; 2/5 of it for networks of DeepNets-1M
            with attention.
    """

    epochs: int = 10
    lr: float = 0.005
    image_side: int = 800

    def __post_init__(self) -> None:
        check_setting("detection.epochs", self.epochs, lambda n: n >= 1, "1 or more")
        check_setting("detection.lr", self.lr, is_positive, "above 0")
        check_setting("detection.image_side", self.image_side, lambda side: side >= 32, "32 or more")


class Detection(Protocol[DetectionConfig, "PedestrianTask"]):
    """Average precision at IoU 0.50 on 50 of the 170 photographs, after training on the others.

    Which ones depends on the seed, as in the papers. A network whose loss is not finite stops there and has 0.
    """

    name = "detection"
    about = "average precision (IoU 0.50) of pedestrian detectors whose backbone starts from the first parameters"
    settings_class = DetectionConfig
    metrics = ("ap50",)
    columns = ("steps",)
    default_groups = ("resnet50", "vit", "darts", "resnet101", "resnet152")
    batch_size = 2
    repeats = 3
    tolerance = 0.1
    own_dataset = "pennfudan"

    def evaluate(self, case: Case[PedestrianTask], settings: DetectionConfig) -> Result:
        from benchmarks.detection.faster_rcnn import faster_rcnn, precision, train
        from benchmarks.training.loop import seed_device

        seed_device(case.model, case.seed)
        train_scenes, test_scenes = case.task.split(case.seed)
        detector = faster_rcnn(case.model, settings.image_side)
        steps, finite = train(detector, train_scenes, case.batch_size, settings.epochs, settings.lr, case.seed)
        return {"steps": steps, "ap50": precision(detector, test_scenes) if finite else 0.0}

    def describe_settings(self, settings: DetectionConfig) -> str:
        text = describe_nondefault(format_count(settings.epochs, "epoch"), settings, "epochs", "image_side")
        return text + f", {settings.image_side} pixels" * (settings.image_side != DetectionConfig.image_side)

    def load_task(self, dataset: str, data_dir: str | None, image_size: int) -> PedestrianTask:
        from benchmarks.detection.penn_fudan import load_pedestrians

        return load_pedestrians(dataset, data_dir, image_size)

    def check_groups(self, settings: DetectionConfig, groups: tuple[str, ...], from_files: bool = False) -> None:
        """Raise InputError if there is an ensemble, which has no feature maps of its own."""
        for group in groups:
            if "+" in group:
                raise InputError(
                    f"{group} is an ensemble, which cannot be a backbone; accepted: single networks, splits"
                )
