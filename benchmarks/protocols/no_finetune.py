"""Accuracy with the first parameters, without any training (DeepNets paper, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.core.model_names import is_trained
from benchmarks.core.protocol import Case, ImageProtocol, Result

if TYPE_CHECKING:
    from ghn_models.images.datasets import ImageTask


@dataclass(frozen=True)
class NoFinetuneConfig:
    """Settings of no_finetune.

    Args:
        batch_norm: statistics of batch norm: those of each batch of test images (test), or running ones that are
            computed from up to 200 batches of training images (train; DeepNets paper, section C.1).
    """

    batch_norm: Literal["test", "train"] = "test"


class NoFinetune(ImageProtocol[NoFinetuneConfig]):
    """Test accuracy; batch norm uses the statistics of batches of 64 images, or the running ones of trained weights."""

    name = "no_finetune"
    about = "accuracy with the first parameters as they are, without training"
    settings_class = NoFinetuneConfig
    later_settings = frozenset({"batch_norm"})
    needs_classifier = True

    def evaluate(self, case: Case[ImageTask], settings: NoFinetuneConfig) -> Result:
        from benchmarks.core.accuracy import topk_accuracy
        from benchmarks.training.batch_norm import estimate_statistics

        test, running = case.task.test.batches(case.batch_size), case.running_statistics
        if settings.batch_norm == "train":
            running = bool(estimate_statistics(case.model, case.task.train, case.seed))
        top1, top5 = topk_accuracy(case.model, test, running)
        return {"top1": top1, "top5": top5}

    def version_of(self, settings: NoFinetuneConfig, model: str) -> int:
        """Return 2 for trained weights: version 1 used the statistics of test batches with them, too."""
        return 2 if is_trained(model) else 1

    def describe_settings(self, settings: NoFinetuneConfig) -> str:
        return "statistics of training images" if settings.batch_norm == "train" else ""
