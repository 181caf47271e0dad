"""Speed and memory of the initializers that learn.

    python -m benchmarks.performance.initializer_speed [--share 0.25]

A step of GradInit and of MetaInit on networks of the test split with 32x32 images, one thread, in a process of its own
each. Quote ratios measured side by side, since machines vary.
"""

import argparse
import sys
import time
from functools import partial

import torch

from benchmarks.core.evaluation_networks import network_at
from benchmarks.execution import memory
from benchmarks.initializers.base import InitContext
from benchmarks.initializers.registry import load_initializer
from deepnets.utils.command_line import command_line, run_command
from deepnets.utils.executors import fresh_processes
from ghn_models.images.datasets import load_images

INITIALIZERS, NETWORKS = ("gradinit", "metainit"), (0, 8, 9)
STEPS = (1, 3)  # of which the difference is two steps


def measured(share: float, case: tuple[str, int]) -> tuple[float, float]:
    """Return the seconds of a step, and the largest memory of the process in GB.

    Args:
        share: batch size as a share of the usual one.
        case: initializer, and index of the network.
    """
    torch.set_num_threads(1)
    name, index = case
    seconds = []
    for steps in (1, *STEPS):  # the first one warms up
        model, graph = network_at("test", index).build(32, 10)
        context = InitContext("", graph, load_images("digits"), 32, torch.Generator().manual_seed(0), batch_share=share)
        start = time.perf_counter()
        load_initializer(f"{name}.{steps}").apply(model, context)
        seconds.append(time.perf_counter() - start)
    return (seconds[2] - seconds[1]) / (STEPS[1] - STEPS[0]), memory.peak() / 1e9


def main() -> int:
    """Run the command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    """Print a line for each initializer and network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--share", type=float, default=0.25, help="of the usual batch of 128 images (GradInit) or 16 (MetaInit)"
    )
    share = parser.parse_args(command_line()).share
    if not 1 / 16 <= share <= 1:
        parser.error(f"--share is {share}; it must be from 1/16 to 1")
    cases = [(name, index) for name in INITIALIZERS for index in NETWORKS]
    with memory.reused_in_new_processes(), fresh_processes() as pool:
        for (name, index), (seconds, peak) in pool.compute(partial(measured, share), cases):
            print(f"{name:<10} test/{index:<4} {seconds:8.2f} s/step {peak:8.2f} GB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
