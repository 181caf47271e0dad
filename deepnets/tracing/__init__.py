"""Graphs of any nn.Module."""

from deepnets.graphs.trace_report import TraceReport
from deepnets.tracing.dispatch import TraceError
from deepnets.tracing.tracer import trace

__all__ = ["TraceError", "TraceReport", "trace"]
