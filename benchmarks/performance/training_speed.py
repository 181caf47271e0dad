"""Speed of training steps: this code, or side by side with another checkout of it.

    python -m benchmarks.performance.training_speed [--other CHECKOUT] [--models ghn2 ghn3_t] [--threads 1 2]

A step samples a meta-batch of four networks, predicts their parameters, differentiates the networks on a batch each,
and updates the GHN. With 16x16 images, networks have the sizes in the middle of the recipe `cifar10_cpu`, and 128
images as in it; with 32x32 images they have any size and 64 images, as in the papers. Every step has new networks, the
same for both checkouts. Each checkout runs in its own process, and the two take turns, because machines vary from
minute to minute: quote the ratio. With one thread, seconds are processor time; with more they are wall-clock time,
which other programs on the machine disturb.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deepnets.utils.errors import InputError

NETWORKS, IMAGES = 4, {16: 128, 32: 64}
STEPS, WARM_UP = 6, 30  # of a round, and before the first one: oneDNN compiles kernels for each shape of a layer
_HERE = Path(__file__).parents[2]


def _modules() -> Any:
    """Import what a step needs, from this layout of the packages or an earlier one."""
    from ghn_models.training import step

    try:
        from ghn_models.training import architecture_pool as pools
    except ImportError:
        from ghn_models.training import architectures as pools  # type: ignore[attr-defined, no-redef]
    try:
        from ghn_models.utils.cpu_kernels import keep_primitives
    except ImportError:

        def keep_primitives() -> None:
            return None

    return step, pools, keep_primitives


def training_step(model: str, size: int, amp: bool) -> Callable[[int], int]:
    """Return a function that runs step i and returns its number of images.

    Args:
        model: name of the GHN.
        size: height and width of images, 16 or 32; networks that need 32 get 32x32 images and a fourth of the batch.
        amp: run networks in bfloat16.
    """
    from ghn_models import create

    step, pools, keep_primitives = _modules()
    keep_primitives()
    pool = pools.ArchitecturePool(None, 2000, 32, 10, seed=0, quiet=True)
    sample = getattr(pool, "sample", None) or pool.draw  # names differ in older checkouts
    limits = (
        (getattr(pools, "SizeLimits", None) or pools.Limits)()
        if size == 32
        else (getattr(pools, "SizeLimits", None) or pools.Limits)((6, 14), (110, 250), (0.7e6, 1.5e6), (32, 64))
    )
    torch.manual_seed(0)
    ghn = create(model, 10, 32)
    optimizer = torch.optim.AdamW(ghn.parameters(), lr=1e-3, fused=amp)  # as `Trainer` does now
    objective = (getattr(step, "LossConfig", None) or step.Objective)(network_clip=1.0, amp=amp)
    images = IMAGES[size]
    count = images if size == 32 else images // 4
    labels = torch.randint(10, (images,))
    whole = torch.randn(count, 3, 32, 32), labels[:count]
    half = torch.randn(images, 3, 16, 16), labels

    def run(i: int) -> int:
        networks = sample(i, NETWORKS, limits, 0.5)
        fixed = [size == 32 or n.architecture.is_vit or not n.architecture.glob_avg for n in networks]
        batches = [whole if f else half for f in fixed]
        optimizer.zero_grad(set_to_none=False)
        step.accumulate(ghn, networks, batches, range(NETWORKS), objective, 1 / NETWORKS)
        torch.nn.utils.clip_grad_norm_(ghn.parameters(), 1.0)
        optimizer.step()
        return sum(len(y) for _, y in batches)

    return run


def work(model: str, size: int, amp: bool, threads: int) -> None:
    """Run a round of steps for each line of standard input, and print its seconds and number of images as JSON."""
    torch.set_num_threads(threads)
    run = training_step(model, size, amp)
    clock = time.process_time if threads == 1 else time.perf_counter
    for i in range(WARM_UP):
        run(i)
    gc.freeze()
    for number, _ in enumerate(sys.stdin):
        start, first = clock(), WARM_UP + number * STEPS
        images = sum(run(i) for i in range(first, first + STEPS))
        print(json.dumps({"seconds": clock() - start, "images": images}), flush=True)


class CheckoutProcess:
    """A process that runs training steps with the code of a checkout."""

    def __init__(self, root: Path, model: str, size: int, amp: bool, threads: int) -> None:
        # A path of its own, or else modules of the folder that it is started in come first.
        options = ["--work", model, str(size), str(int(amp)), str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)},
        )
        self.rounds: list[dict[str, float]] = []

    def round(self) -> None:
        """Run a round of steps, and before the first round the warm-up."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise InputError("a process of a checkout ended, see above")
        self.rounds.append(json.loads(line))

    def seconds(self, per: str = "steps") -> float:
        """Return the median over rounds of the seconds for a step, or for an image if `per` is "images"."""
        return statistics.median(r["seconds"] / (r["images"] if per == "images" else STEPS) for r in self.rounds)


def measure(model: str, size: int, threads: int, other: Path | None, rounds: int) -> str:
    """Measure one or two checkouts in turns, and return a line of the table."""
    checkouts = [CheckoutProcess(_HERE, model, size, True, threads)]
    if other is not None:
        checkouts.append(CheckoutProcess(other, model, size, False, threads))
    for _ in range(rounds):
        for checkout in checkouts:
            checkout.round()
    for checkout in checkouts:
        checkout.process.communicate()
    cells = [f"{1 / checkout.seconds('images'):>10.0f}{NETWORKS / checkout.seconds():>12.1f}" for checkout in checkouts]
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(checkouts[0].rounds, checkouts[-1].rounds, strict=True)]
    ratio = f"{statistics.median(ratios):>8.2f}x" if other is not None else ""
    return f"{model:<8} {size}x{size:<5}{threads:>7}" + "".join(cells) + ratio


def main() -> int:
    """Run the command, see `run_command`."""
    from deepnets.utils.command_line import run_command  # another checkout may not have it

    return run_command(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="another checkout, whose networks run in float32")
    parser.add_argument("--models", nargs="+", default=["ghn2", "ghn3_t"])
    parser.add_argument("--sizes", nargs="+", type=int, choices=(16, 32), default=[16, 32])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if min(*args.threads, args.rounds) < 1:
        parser.error("--threads and --rounds must be 1 or more")
    if args.other is not None and not (args.other / "ghn_models").is_dir():
        parser.error(f"{args.other} is not a checkout: it has no folder ghn_models")
    columns = f"{'images/s':>10}{'networks/s':>12}"
    print(f"{'model':<8} {'images':<8}{'threads':>7}" + columns + (columns + f"{'ratio':>9}" if args.other else ""))
    for model in args.models:
        for size in args.sizes:
            for threads in args.threads:
                print(measure(model, size, threads, args.other, args.rounds), flush=True)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:  # in another checkout, which may not have what the command needs
        work(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1", int(sys.argv[5]))
    else:
        sys.exit(main())
