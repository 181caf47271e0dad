"""Attempts: the graph of the first call that a model can be traced with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.tracing.errors import TraceError
from deepnets.tracing.inputs.arguments import Arguments
from deepnets.tracing.inputs.failure import advice, is_about_sizes

_COMPUTED = 4  # calls that are run on numbers after all have failed on meta tensors


@dataclass(frozen=True)
class Recording:
    """Settings for calling and recording a model.

    Args:
        meta: records a call on meta tensors.
        real: records a call on numbers; None where that is not wanted.
        only_real: whether meta tensors are not tried.
    """

    meta: Callable[[Arguments], ArchGraph]
    real: Callable[[Arguments], ArchGraph] | None
    only_real: bool = False


def first_graph(model: nn.Module, calls: Iterable[Arguments], recording: Recording) -> ArchGraph:
    """Return the graph of the first call that works: on meta tensors, else on numbers.

    A call is run on numbers at once where the model reads values; where something else does not work, after all calls
    have failed on meta tensors, unless sizes are the trouble.

    Args:
        model: the network.
        calls: arguments to call it with, in the order of the attempts.
        recording: how.

    Raises:
        TraceError: no call works.
    """
    failed: list[tuple[Arguments, TraceError]] = []
    for call in calls:
        graph = _attempt(recording, call, failed)
        if graph is not None:
            return graph
    again = [(call, error) for call, error in failed if not error.reads_values and not is_about_sizes(error.__cause__)]
    for call, _ in again[:_COMPUTED]:
        if recording.real is None or recording.only_real:
            break
        try:
            return recording.real(call)
        except TraceError:
            continue
    raise _failure(model, failed)


def _attempt(recording: Recording, call: Arguments, failed: list[tuple[Arguments, TraceError]]) -> ArchGraph | None:
    """Try one call; if it fails, add it to those that failed."""
    try:
        if recording.only_real and recording.real is not None:
            return recording.real(call)
        return recording.meta(call)
    except TraceError as error:
        reason = error
    if reason.reads_values and recording.real is not None and not recording.only_real:
        try:
            return recording.real(call)
        except TraceError as error:
            reason = reason if reason.reads_values else error
    failed.append((call, reason))
    return None


def _failure(model: nn.Module, failed: list[tuple[Arguments, TraceError]]) -> TraceError:
    """Return the error of the first call, or of the first in which the model read values, with advice."""
    if not failed:
        return TraceError(f"nothing is known about the inputs of {type(model).__name__}; give them (inputs)")
    reads = next((error for _, error in failed if error.reads_values), None)
    if reads is not None:
        return reads
    error = failed[0][1]
    if error.__cause__ is None:
        return error
    calls, sizes = [call for call, _ in failed], is_about_sizes(error.__cause__)
    result = TraceError(f"{error}{advice(model, calls, sizes)}")
    result.__cause__ = error.__cause__
    return result
