"""Accuracy with the first parameters, without any training (DeepNets paper, section 5.1)."""

from dataclasses import dataclass

from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.protocol import Case, Protocol, Result


@dataclass(frozen=True)
class NoFinetuneConfig:
    """Nothing can be set."""


def evaluate(case: Case, settings: NoFinetuneConfig) -> Result:
    """Test accuracy; batch norm uses the statistics of batches of 64 images."""
    top1, top5 = topk_accuracy(case.model, case.task.test.batches(case.batch_size))
    return {"top1": top1, "top5": top5}


PROTOCOL = Protocol(
    name="no_finetune",
    version=1,
    about="accuracy with the first parameters as they are, without training",
    settings=NoFinetuneConfig,
    setting=lambda settings: "",
    evaluate=evaluate,
    needs_classifier=True,
)
