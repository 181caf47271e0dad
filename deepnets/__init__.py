"""DeepNets-1M: neural architectures as graphs. See README.md for a tour.

Names are imported on first use, so that the command line starts quickly and generation never imports torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
"""Version of the whole toolkit; pyproject.toml reads it from here."""

_HOMES = {
    "Architecture": "deepnets.design_space.architecture",
    "ArchGraph": "deepnets.graphs.arch_graph",
    "DeepNets1M": "deepnets.datasets.deepnets1m",
    "Genotype": "deepnets.design_space.genotype",
    "MetaBatchSampler": "deepnets.datasets.samplers",
    "PRIMITIVES": "deepnets.graphs.primitives",
    "VirtualEdges": "deepnets.datasets.transforms",
    "TraceError": "deepnets.tracing.errors",
    "TraceReport": "deepnets.graphs.trace_report",
    "symbolic_graph": "deepnets.symbolic.builder",
    "trace": "deepnets.tracing.tracer",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deepnets' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
