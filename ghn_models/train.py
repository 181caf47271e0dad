"""Train a GHN.

    python -m ghn_models.train --model ghn3_t --dataset digits --recipe laptop
    torchrun --nproc-per-node 2 -m ghn_models.train --model ghn3_t --dataset digits --recipe laptop
    python -m ghn_models.train --model ghn2 --dataset cifar10 --data-dir data --recipe ghn2 --device cuda

The folder runs/MODEL_DATASET_RECIPE_SEED gets settings, a log with a JSON line for every 50 steps, the curves as a
picture (--plot) and checkpoints; a run that was stopped goes on from the last one when the same command is given again.
With torchrun each process takes its share of every meta-batch. The best checkpoint is in the folder best, ready for
`ghn_models.load`.
"""

# What needs PyTorch is imported after the options are parsed, so that --help and --version are quick.
import os
import sys

import tyro

from deepnets.utils.command_line import command_line, run_command
from ghn_models.training.options import TrainOptions


def main() -> int:
    """Run the command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    return _train(tyro.cli(TrainOptions, args=command_line(), prog="python -m ghn_models.train", description=__doc__))


def _train(options: TrainOptions) -> int:
    from torch import distributed

    from ghn_models.checkpoints.folder import read_metadata
    from ghn_models.training.run import train

    best = train(options)
    if int(os.environ.get("RANK", 0)) == 0:
        accuracy = read_metadata(best)["val_accuracy"]
        print(f"best weights: {best}, accuracy {accuracy:.3f} on validation networks")
    if distributed.is_initialized():
        distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
