"""Counts of models that are traced without a word about their inputs, and that a GHN initializes.

    python -m benchmarks.performance.traced_models torchvision --out results.jsonl
    python -m benchmarks.performance.traced_models hugging_face --out results.jsonl --ghn ghn3_t.digits
    python -m benchmarks.performance.traced_models --table results.jsonl

Libraries: torchvision, timm, hugging_face, others. A line is added for each model; models that have one are left out,
so that the command goes on where it stopped. The table says how many work, how long they take, and why others do not.
"""

import argparse
import contextlib
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import ghn_models
from benchmarks.performance.model_zoo.hugging_face import hugging_face_models
from benchmarks.performance.model_zoo.others import other_models
from benchmarks.performance.model_zoo.vision import Factories, timm_models, torchvision_models
from deepnets.graphs.arch_graph import ArchGraph
from deepnets.tracing.errors import TraceError
from deepnets.tracing.inputs.arguments import real_arguments
from deepnets.tracing.inputs.guesses import possible_calls
from deepnets.tracing.tracer import plain_outputs, trace
from deepnets.utils.command_line import run_command
from deepnets.utils.errors import InputError, one_line
from ghn_models.hypernetwork import GHN

LIBRARIES: dict[str, Callable[[bool], Factories]] = {
    "torchvision": lambda every: torchvision_models(),
    "timm": timm_models,
    "hugging_face": hugging_face_models,
    "others": lambda every: other_models(),
}


class TimeIsUp(BaseException):
    """A model takes too long; not an error of the model, which would be caught."""


def traced(build: Callable[[], nn.Module], limit: int, ghn: GHN | None = None) -> dict[str, Any]:
    """Build and trace a model, and let a GHN initialize it.

    Args:
        build: makes the model.
        ghn: if given, the model must have numbers; what it keeps is checked, and that its outputs are finite.
        limit: seconds of the processor.

    Returns:
        Whether it worked, seconds of the processor, nodes, parameters without a node, or the error.
    """
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        try:
            model = build()
        except Exception as error:  # whatever a library raises
            return {"built": False, "error": one_line(f"{type(error).__name__}: {error}")}
        start = time.process_time()
        result = {"built": True, "parameters": len(list(model.parameters())), "training": model.training}
        try:
            graph = trace(model)
        except TraceError as error:
            return {**result, "traced": False, "seconds": _since(start), "error": str(error)}
        report = graph.report
        assert report is not None
        rest = {"nodes": len(graph), "unnamed": len(report.unnamed), "why": next(iter(report.unnamed.items()), None)}
        seconds = _since(start)
        checks = {} if ghn is None else initialized(model, ghn, graph)
        return {**result, "traced": True, "seconds": seconds, **rest, **checks}
    except TimeIsUp:
        return {"built": True, "traced": False, "error": f"more than {limit} s"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def initialized(model: nn.Module, ghn: GHN, graph: ArchGraph) -> dict[str, Any]:
    """Initialize a model with a GHN and run it.

    Returns:
        How many parameters are predicted, kept, both and neither, and whether outputs and parameters are finite.
    """
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    try:
        kept = ghn.initialize(model, graph=graph)
    except InputError as error:
        return {"ghn": False, "error": str(error)}
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    outputs = _outputs(model)
    return {
        "ghn": True,
        "kept": len(kept),
        "changed": len(changed),
        "kept_changed": len(changed & kept.keys()),
        "neither": len(before.keys() - changed - kept.keys()),
        "finite_parameters": all(bool(p.isfinite().all()) for p in model.parameters()),
        "finite_outputs": None if outputs is None else all(bool(t.isfinite().all()) for t in outputs),
        "reasons": dict(Counter(kept.values()).most_common(3)),
    }


def _outputs(model: nn.Module) -> list[torch.Tensor] | None:
    """Return the outputs for the first inputs that the model takes; None if it takes none."""
    for call in possible_calls(model, None, None):
        args, kwargs = real_arguments(call, None)
        with torch.no_grad(), contextlib.suppress(Exception):  # whatever the model raises
            leaves = tree_leaves(plain_outputs(model(*args, **kwargs)))
            return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    return None


def _stop(*_: Any) -> None:
    raise TimeIsUp


def _since(start: float) -> float:
    return round(time.process_time() - start, 2)


def table(results: list[dict[str, Any]]) -> str:
    """Return counts and seconds for each library, and a line for each model that is not traced."""
    lines = ["| library | models | traced | share | median s | worst s |", "| --- | --- | --- | --- | --- | --- |"]
    for library in dict.fromkeys(result["library"] for result in results):
        mine = [result for result in results if result["library"] == library and result["built"]]
        done = [result for result in mine if result["traced"]]
        seconds = [result["seconds"] for result in done] or [0]
        share = len(done) / max(len(mine), 1)
        lines.append(
            f"| {library} | {len(mine)} | {len(done)} | {share:.1%} | {median(seconds):.2f} | {max(seconds):.1f} |"
        )
    lines += ["", *(f"- {r['library']} {r['name']}: {r['error']}" for r in results if "error" in r)]
    return "\n".join(lines)


def main() -> int:
    """Run the command, see `run_command`."""
    return run_command(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="library", help=", ".join(LIBRARIES))
    parser.add_argument("--out", type=Path, help="file of results, a line for each model")
    parser.add_argument("--table", type=Path, help="print the table of a file of results")
    parser.add_argument("--every", action="store_true", help="all models of timm or Hugging Face, not a choice")
    parser.add_argument("--ghn", help="a GHN that initializes each model, for example ghn3_t.digits")
    parser.add_argument("--names", nargs="*", default=[], help="only these models")
    parser.add_argument("--limit", type=int, default=120, help="seconds of the processor for a model")
    options = parser.parse_args()
    if options.table is not None:
        print(table(_read(options.table)))
        return 0
    ghn = None if options.ghn is None else ghn_models.load(options.ghn)
    done = {(r["library"], r["name"]) for r in (_read(options.out) if options.out is not None else [])}
    for library in options.libraries:
        if library not in LIBRARIES:
            parser.error(f"there is no library {library!r}; choose from {', '.join(LIBRARIES)}")
        for name, build in LIBRARIES[library](options.every).items():
            if (library, name) in done or (options.names and name not in options.names):
                continue
            torch.manual_seed(0)
            _write({"library": library, "name": name, **traced(build, options.limit, ghn)}, options.out)
    return 0


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _write(result: dict[str, Any], path: Path | None) -> None:
    line = json.dumps(result)
    if path is None:
        print(line)
    else:
        with path.open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
