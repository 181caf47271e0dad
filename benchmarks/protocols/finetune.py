"""Accuracy after a short training that starts from the first parameters (GHN-3 paper, section 5.1)."""

from copy import deepcopy
from dataclasses import dataclass

from benchmarks.core.accuracy import topk_accuracy
from benchmarks.core.ensemble import members
from benchmarks.core.protocol import Case, Protocol, Result, count, described, not_negative, positive, require
from benchmarks.core.sgd import fine_tune

_WEIGHT_DECAY = 3e-5


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning.

    Args:
        epochs: number of training epochs; 0.1, 1 and 10 in the papers.
        lrs: learning rates, of which each network gets the one with the best validation accuracy.
        beta: for GHNs: strength of the noise on predicted weights, which makes equal channels different; 3e-5 in the
            GHN-orth paper, for weights that are made orthogonal.
    """

    epochs: float = 1.0
    lrs: tuple[float, ...] = (0.4, 0.1, 0.04, 0.01, 0.001)
    beta: float = 1e-5

    def __post_init__(self) -> None:
        require("finetune.epochs", self.epochs, positive, "above 0")
        require("finetune.lrs", self.lrs, positive, "one or more learning rates above 0")
        require("finetune.beta", self.beta, not_negative, "0 or more")


def evaluate(case: Case, settings: FinetuneConfig) -> Result:
    """Test accuracy with the learning rate that is best on the validation images.

    SGD with momentum 0.9, weight decay 3e-5 and batches of 128 images. Only the network that was chosen sees the test
    images. If no learning rate had finite losses, accuracies are 0, and lr is the first. Batch norm uses the statistics
    of batches of 64 images, as without fine-tuning. The networks of an ensemble are trained one by one, with the
    learning rate that is best for all of it.
    """
    evaluation_batch = case.evaluation_batch
    best: tuple[float, float] = (-1.0, 0.0)
    trained = False
    for lr in settings.lrs:
        model = deepcopy(case.model)
        finite = all(
            fine_tune(
                *(member, case.task.train, settings.epochs, case.batch_size, lr, _WEIGHT_DECAY),
                *(case.seed, case.task.flip),
            )
            for member in members(model)
        )
        accuracy = topk_accuracy(model, case.task.val.batches(evaluation_batch))[0] if finite else 0.0
        if accuracy > best[0]:
            best, chosen, trained = (accuracy, lr), model, finite
    top1, top5 = topk_accuracy(chosen, case.task.test.batches(evaluation_batch)) if trained else (0.0, 0.0)
    return {"lr": best[1], "val_top1": best[0], "top1": top1, "top5": top5}


PROTOCOL = Protocol(
    name="finetune",
    version=1,
    about="accuracy after a short training that starts from the first parameters",
    settings=FinetuneConfig,
    setting=lambda settings: described(count(settings.epochs, "epoch"), settings, "epochs"),
    evaluate=evaluate,
    columns=("lr", "val_top1"),
    batch_size=128,
    beta=lambda settings: settings.beta,
    tolerance=0.04,
)
