"""Graphs of any nn.Module."""

from deepnets.tracing.dispatch import TraceError
from deepnets.tracing.tracer import trace
from deepnets.tracing.values import TraceReport

__all__ = ["TraceError", "TraceReport", "trace"]
