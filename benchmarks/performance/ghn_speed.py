"""Speed of the GHNs.

    python -m benchmarks.performance.ghn_speed [--device cuda] [--dtype bfloat16] [--threads 1] [--no-xl]

Graph networks and training steps on a meta-batch of 8 training graphs with 1,500 nodes; the prediction of ResNet-50.
Milliseconds are medians; the last column is the reference code with one thread on two shared x86 cores, on a meta-batch
of 1,526 nodes. Machines vary: quote ratios measured side by side. GHN-3-XL runs in a process of its own, whose peak
memory is reported.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.execution import memory
from deepnets import ArchGraph, Architecture, symbolic_graph, trace
from deepnets.networks.skip_init import on_meta_without_init
from deepnets.sampling.sampler import sample_networks
from deepnets.utils.command_line import command_line, run_command
from ghn_models import GHN, GraphBatch, create
from ghn_models.modules.node_encoding import NodeEncoding
from ghn_models.training.architecture_pool import training_networks
from ghn_models.training.step import LossConfig, accumulate

REFERENCE_MS = {
    "GatedGNN, forward": 410,
    "GatedGNN, forward + backward": 661,
    "Graphormer-T, forward": 628,
    "Graphormer-T, forward + backward": 1416,
    "GHN-2 training step, 8 x 16 images": 3610,
    "GHN-3-T training step, 8 x 16 images": 4970,
    "ResNet-50 by GHN-3-T, graph given": 97,
    "ResNet-50 by GHN-3-T": 420,
    "ResNet-50 by GHN-3-XL, graph given": 6840,
    "ResNet-50 by GHN-3-XL": 7610,
}
NODES, GRAPHS = 1500, 8


def median_ms(work: Callable[[], object], device: str, repeats: int) -> float:
    """Return the median milliseconds of a call, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[1:])


def meta_batch() -> list[Architecture]:
    """Return eight training architectures whose graphs have about 1,500 nodes."""
    networks = sample_networks("train", 0, 400)
    nodes = np.diff(networks.graphs.node_ptr).reshape(-1, GRAPHS).sum(1)
    start = GRAPHS * int(np.abs(nodes - NODES).argmin())
    return [networks.table[i] for i in range(start, start + GRAPHS)]


def graph_networks(
    device: str, autocast: Callable[[], AbstractContextManager[object]]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield calls of the GatedGNN of GHN-2 and of the Graphormer of GHN-3-T on the meta-batch."""
    graphs = [symbolic_graph(architecture) for architecture in meta_batch()]
    for title, model in (("GatedGNN", "ghn2"), ("Graphormer-T", "ghn3_t")):
        ghn = create(model).to(device)
        network, batch = ghn.graph_network[0], ghn.batch(graphs)
        x = torch.randn(sum(batch.sizes), ghn.config.hidden, device=device)
        yield f"{title}, forward", lambda n=network, x=x, b=batch: forward(n, x, b, autocast)  # type: ignore[misc]
        yield (
            f"{title}, forward + backward",
            lambda n=network, x=x, b=batch: forward_backward(n, x, b, autocast),  # type: ignore[misc]
        )


def forward(
    network: nn.Module, x: Tensor, batch: GraphBatch, autocast: Callable[[], AbstractContextManager[object]]
) -> None:
    """Compute node features without gradients."""
    with torch.no_grad(), autocast():
        network(x, batch)


def forward_backward(
    network: nn.Module, x: Tensor, batch: GraphBatch, autocast: Callable[[], AbstractContextManager[object]]
) -> None:
    """Compute node features and gradients."""
    with autocast():
        y = network(x.clone().requires_grad_(), batch)
    torch.autograd.backward(y.float().sum())


def training_steps(device: str, amp: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield training steps of GHNs: gradients for 8 networks with 32 channels on 16 images of 32x32, and the update."""
    networks = training_networks(meta_batch(), 32, 10)
    batch = torch.randn(16, 3, 32, 32, device=device), torch.randint(10, (16,), device=device)
    for title, model in (("GHN-2", "ghn2"), ("GHN-3-T", "ghn3_t")):
        ghn = create(model, 10, 32).to(device)
        optimizer = torch.optim.AdamW(ghn.parameters(), 1e-4)

        def step(ghn: GHN = ghn, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            accumulate(ghn, networks, [batch] * GRAPHS, list(range(GRAPHS)), LossConfig(amp=amp), 1 / GRAPHS)
            torch.nn.utils.clip_grad_norm_(ghn.parameters(), 1.0)
            optimizer.step()

        yield f"{title} training step, 8 x 16 images", step


def resnet50(
    name: str, title: str, device: str, autocast: Callable[[], AbstractContextManager[object]]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield predictions of ResNet-50 in place, without and with tracing it."""
    ghn = random_ghn(name).to(device)
    model = torchvision.models.resnet50().to(device)
    graph = trace(model)

    def run(known: ArchGraph | None) -> None:
        with autocast():
            ghn(model, graph=known)

    yield f"ResNet-50 by {title}, graph given", lambda: run(graph)
    yield f"ResNet-50 by {title}", lambda: run(None)


def random_ghn(name: str) -> GHN:
    """Create a GHN with uniform weights, which is faster than its own initialization."""
    with on_meta_without_init():
        ghn = create(name)
    config = ghn.config
    ghn = ghn.to_empty(device="cpu")
    ghn.encoding = NodeEncoding(config.hidden, config.num_classes, config.kernel_size)
    with torch.no_grad():
        for parameter in ghn.parameters():
            parameter.uniform_(-0.02, 0.02)
    return ghn


def report(work: Iterator[tuple[str, Callable[[], object]]], device: str, repeats: int) -> None:
    """Print a line for each measurement."""
    for title, call in work:
        ms = median_ms(call, device, repeats)
        reference = REFERENCE_MS[title]
        print(f"{title:<42}{ms:>10.1f} ms{reference:>10} ms{reference / ms:>8.1f}x", flush=True)


def report_xl(device: str, autocast: Callable[[], AbstractContextManager[object]]) -> None:
    """Measure GHN-3-XL, and the memory that it needs beyond what the process had before."""
    before = memory.peak()
    weights = sum(p.numel() for p in create_on_meta("ghn3_xl").parameters()) * 4e-6
    report(resnet50("ghn3_xl", "GHN-3-XL", device, autocast), device, repeats=3)
    print(f"  process {memory.peak() / 1e6:,.0f} MB at most, {before / 1e6:,.0f} MB before; weights {weights:,.0f} MB")
    if device == "cuda":
        print(f"  GPU memory {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB at most")


def create_on_meta(name: str) -> GHN:
    """Create a GHN without storage for its weights."""
    with on_meta_without_init():
        return create(name)


def main() -> int:
    """Run the command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-xl", action="store_true", help="leave out GHN-3-XL, which needs 4 GB")
    parser.add_argument("--only-xl", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(command_line())
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU; accepted: --device cpu")
    if args.threads < 1:
        parser.error(f"--threads is {args.threads}; it must be 1 or more")
    torch.set_num_threads(args.threads)

    def autocast() -> AbstractContextManager[object]:
        return torch.autocast(args.device, getattr(torch, args.dtype), enabled=args.dtype != "float32")

    if args.only_xl:
        report_xl(args.device, autocast)
        return 0
    print(f"torch {torch.__version__}, {args.device}, {args.dtype}, {args.threads} threads")
    print(f"{'':<42}{'this toolkit':>13}{'reference':>13}")
    report(graph_networks(args.device, autocast), args.device, repeats=9)
    report(training_steps(args.device, args.dtype != "float32"), args.device, repeats=3)
    report(resnet50("ghn3_t", "GHN-3-T", args.device, autocast), args.device, repeats=9)
    if not args.no_xl:
        options = ["--device", args.device, "--dtype", args.dtype, "--threads", str(args.threads), "--only-xl"]
        subprocess.run([sys.executable, "-m", "benchmarks.performance.ghn_speed", *options], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
