"""Speed of the GHNs.

    python -m benchmarks.ghn_speed [--device cuda] [--dtype bfloat16] [--threads 1] [--no-xl]

Graph networks on a meta-batch of 8 training graphs with 1,500 nodes, and the prediction of ResNet-50. Milliseconds are
medians; the last column is the reference code on two shared x86 cores with one thread, on a meta-batch of 1,526 nodes.
Machines vary: quote ratios measured side by side. GHN-3-XL runs in a process of its own, whose peak memory is reported.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
import torchvision
from torch import Tensor, nn

from deepnets import ArchGraph, symbolic_graph, trace
from deepnets.sampling import sample_networks
from ghn_models import GHN, GraphBatch, create
from ghn_models.encoding import NodeEncoding

REFERENCE_MS = {
    "GatedGNN, forward": 410,
    "GatedGNN, forward + backward": 661,
    "Graphormer-T, forward": 628,
    "Graphormer-T, forward + backward": 1416,
    "ResNet-50 by GHN-3-T, graph given": 97,
    "ResNet-50 by GHN-3-T": 420,
    "ResNet-50 by GHN-3-XL, graph given": 6840,
    "ResNet-50 by GHN-3-XL": 7610,
}
NODES, GRAPHS = 1500, 8


def median_ms(work: Callable[[], object], device: str, repeats: int) -> float:
    """Milliseconds of one call, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[1:])


def meta_batch() -> list[ArchGraph]:
    """Eight training graphs with about 1,500 nodes."""
    table = sample_networks("train", 0, 400).table
    graphs = [symbolic_graph(table[i]) for i in range(len(table))]
    chunks = [graphs[i : i + GRAPHS] for i in range(0, len(graphs), GRAPHS)]
    return min(chunks, key=lambda chunk: abs(sum(map(len, chunk)) - NODES))


def graph_networks(
    device: str, autocast: Callable[[], AbstractContextManager[object]]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """The GatedGNN of GHN-2 and the Graphormer of GHN-3-T on the meta-batch."""
    graphs = meta_batch()
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
    """Node features without gradients."""
    with torch.no_grad(), autocast():
        network(x, batch)


def forward_backward(
    network: nn.Module, x: Tensor, batch: GraphBatch, autocast: Callable[[], AbstractContextManager[object]]
) -> None:
    """Node features and gradients."""
    with autocast():
        y = network(x.clone().requires_grad_(), batch)
    y.float().sum().backward()


def resnet50(
    name: str, title: str, device: str, autocast: Callable[[], AbstractContextManager[object]]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """The prediction of ResNet-50, in place, without and with tracing it."""
    ghn = random_ghn(name).to(device)
    model = torchvision.models.resnet50().to(device)
    graph = trace(model)

    def run(known: ArchGraph | None) -> None:
        with autocast():
            ghn(model, graph=known)

    yield f"ResNet-50 by {title}, graph given", lambda: run(graph)
    yield f"ResNet-50 by {title}", lambda: run(None)


def random_ghn(name: str) -> GHN:
    """A GHN with uniform weights, which are made faster than initial ones."""
    with torch.device("meta"):
        ghn = create(name)
    config = ghn.config
    ghn = ghn.to_empty(device="cpu")
    ghn.encoding = NodeEncoding(config.hidden, config.num_classes, config.kernel_size)
    with torch.no_grad():
        for parameter in ghn.parameters():
            parameter.uniform_(-0.02, 0.02)
    return ghn


def peak_mb() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def report(work: Iterator[tuple[str, Callable[[], object]]], device: str, repeats: int) -> None:
    """A line for each measurement."""
    for title, call in work:
        ms = median_ms(call, device, repeats)
        reference = REFERENCE_MS[title]
        print(f"{title:<42}{ms:>10.1f} ms{reference:>10} ms{reference / ms:>8.1f}x", flush=True)


def report_xl(device: str, autocast: Callable[[], AbstractContextManager[object]]) -> None:
    """GHN-3-XL, with the memory it needs beyond what the process had before."""
    before = peak_mb()
    weights = sum(p.numel() for p in create_on_meta("ghn3_xl").parameters()) * 4e-6
    report(resnet50("ghn3_xl", "GHN-3-XL", device, autocast), device, repeats=3)
    print(f"  process {peak_mb():,.0f} MB at most, {before:,.0f} MB before; weights {weights:,.0f} MB")
    if device == "cuda":
        print(f"  GPU memory {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB at most")


def create_on_meta(name: str) -> GHN:
    """A GHN without storage."""
    with torch.device("meta"):
        return create(name)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-xl", action="store_true", help="leave out GHN-3-XL, which needs 4 GB")
    parser.add_argument("--only-xl", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU; accepted: --device cpu")
    torch.set_num_threads(args.threads)

    def autocast() -> AbstractContextManager[object]:
        return torch.autocast(args.device, getattr(torch, args.dtype), enabled=args.dtype != "float32")

    if args.only_xl:
        report_xl(args.device, autocast)
        return
    print(f"torch {torch.__version__}, {args.device}, {args.dtype}, {args.threads} threads")
    print(f"{'':<42}{'this toolkit':>13}{'reference':>13}")
    report(graph_networks(args.device, autocast), args.device, repeats=9)
    report(resnet50("ghn3_t", "GHN-3-T", args.device, autocast), args.device, repeats=9)
    if not args.no_xl:
        options = ["--device", args.device, "--dtype", args.dtype, "--threads", str(args.threads), "--only-xl"]
        subprocess.run([sys.executable, "-m", "benchmarks.ghn_speed", *options], check=True)


if __name__ == "__main__":
    main()
