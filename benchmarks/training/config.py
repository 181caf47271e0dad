"""Settings of the training of single networks: options that protocols share, and one point of a grid.

The command line reads this module, so it imports no torch.
"""

from dataclasses import dataclass
from typing import Literal

from benchmarks.core.protocol_settings import check_setting, is_nonnegative, is_positive

OptimizerName = Literal["sgd", "adam", "adamw"]
OPTIMIZERS: tuple[OptimizerName, ...] = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class Trial:
    """A point of a grid of hyperparameters.

    Args:
        optimizer: SGD with momentum 0.9, Adam, or Adam with decoupled weight decay.
        epochs: number of epochs, which may be a fraction; at least one step is made.
        lr, weight_decay: learning rate and weight decay of the optimizer.
        steps: number of steps; 0 if the epochs say it.
    """

    optimizer: OptimizerName
    epochs: float
    lr: float
    weight_decay: float
    steps: int = 0

    def total_steps(self, per_epoch: int) -> int:
        """Return the number of steps, for epochs of so many."""
        return self.steps or max(1, round(self.epochs * per_epoch))


@dataclass(frozen=True)
class TrainingConfig:
    """Training.

    Args:
        batch_size: images in a training batch.
        schedule: schedule of the learning rate: constant, a cosine to 0, or a tenth after each `decay_every` epochs
            (step).
        decay_every: epochs between the decays of the schedule step.
        warmup: epochs in which the learning rate grows linearly to its first value.
        nesterov: momentum of SGD looks ahead.
        label_smoothing: share of a label that all classes get.
        clip: largest norm of the gradient; 0 does not clip.
        cutout: side of a square of each training image that is set to 0, at a random place (DeVries and Taylor, 2017);
            0 leaves images as they are.
        auxiliary: weight of the loss of an auxiliary classifier two thirds into networks of DeepNets-1M (DARTS); 0 adds
            none.
        drop_path: largest probability of dropping what an operation passes on, which grows from 0 over the epochs
            (DARTS); for networks of DeepNets-1M.
        target: training accuracy that ends the time of convergence (DeepNets paper, section C.2.3: 0.95 on CIFAR-10,
            0.1 of the top 5 on ImageNet).
        target_top: the number of best classes that one has to be right for the target.
        batch_norm: running statistics after training: as training leaves them (running), computed anew from up to 200
            batches of training images (estimated), or computed anew only where more than a hundredth of them is still
            the initial value, as after a few steps (auto).
    """

    batch_size: int = 128
    schedule: Literal["constant", "cosine", "step"] = "constant"
    decay_every: float = 30.0
    warmup: float = 0.0
    nesterov: bool = False
    label_smoothing: float = 0.0
    clip: float = 0.0
    cutout: int = 0
    auxiliary: float = 0.0
    drop_path: float = 0.0
    target: float = 0.95
    target_top: int = 1
    batch_norm: Literal["auto", "running", "estimated"] = "auto"

    def check(self, protocol: str) -> None:
        """Raise ValueError if an option cannot be used; its sentence names the option as the user types it.

        Args:
            protocol: protocol that has the options.
        """
        at_least_0 = ("warmup", "clip", "cutout", "auxiliary")
        for name in at_least_0:
            check_setting(f"{protocol}.{name}", getattr(self, name), is_nonnegative, "0 or more")
        for name in ("label_smoothing", "drop_path"):
            check_setting(f"{protocol}.{name}", getattr(self, name), lambda p: 0 <= p < 1, "from 0 to below 1")
        check_setting(f"{protocol}.batch_size", self.batch_size, lambda n: n >= 8, "8 or more")
        check_setting(f"{protocol}.target", self.target, lambda share: 0 < share <= 1, "above 0 to 1")
        check_setting(f"{protocol}.target_top", self.target_top, lambda n: n >= 1, "1 or more")
        check_setting(f"{protocol}.decay_every", self.decay_every, is_positive, "above 0")
