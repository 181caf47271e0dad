"""The state of a model, which is saved before a traced call and restored afterwards."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

TRACING = threading.RLock()
"""Held while the parameters of a model are replaced: threads trace one after the other, as models may share modules."""

_LIBRARIES = {"torch", "numpy", *sys.stdlib_module_names}
_PLAIN = ("argparse", "builtins", "collections", "types")  # their objects hold attributes of their users
_ATOMS = {type(None), bool, int, float, complex, str, bytes, FunctionType, BuiltinFunctionType, ModuleType}


@contextmanager
def replaced_tensors(model: nn.Module, stand_ins: dict[int, Tensor]) -> Iterator[None]:
    """Replace parameters and buffers of a model inside the `with` block, and restore the model afterwards.

    Restored are the attributes of all modules, the contents of lists, dictionaries, sets and objects that can be
    reached from them, and parameters and buffers. The recorder undoes writes into tensors.

    Args:
        model: the network.
        stand_ins: what replaces a tensor, by the `id` of the tensor; the same tensor may have several names.
    """
    saved = _save(model)
    try:
        for module in model.modules():
            for kind in ("_parameters", "_buffers"):
                tensors = module.__dict__.get(kind, {})  # TorchScript keeps its own
                for name, tensor in list(tensors.items()):
                    if id(tensor) in stand_ins:
                        tensors[name] = stand_ins[id(tensor)]
        yield
    finally:
        for restore in saved:
            restore()


def _save(model: nn.Module) -> list[Callable[[], None]]:
    """Return functions that restore everything that can be changed and reached from a model."""
    saved: list[Callable[[], None]] = []
    seen: set[int] = set()
    pending: list[Any] = [model]
    while pending:
        item = pending.pop()
        if type(item) in _ATOMS or id(item) in seen or isinstance(item, Tensor | type):
            continue
        seen.add(id(item))
        if isinstance(item, dict | MutableMapping):
            before = dict(item)
            saved.append(partial(_restore_mapping, item, before))
            pending.extend(before.values())
        elif isinstance(item, list | deque):
            members = list(item)
            saved.append(partial(_restore_sequence, item, members))
            pending.extend(members)
        elif isinstance(item, set):
            saved.append(partial(_restore_set, item, set(item)))
        elif isinstance(item, tuple | frozenset):
            pending.extend(item)
        elif isinstance(item, MethodType):
            pending.append(item.__self__)
        elif isinstance(item, partial):
            pending.extend((item.func, *item.args, *item.keywords.values()))
        if isinstance(item, nn.Module) or _keeps_state(item):
            pending.append(item.__dict__)
    return saved


def _keeps_state(item: Any) -> bool:
    """Return whether the attributes of an object may belong to a model: not those of loggers, locks and the like."""
    package = type(item).__module__.partition(".")[0]
    return isinstance(getattr(item, "__dict__", None), dict) and (package in _PLAIN or package not in _LIBRARIES)


def _restore_mapping(mapping: MutableMapping[Any, Any], before: dict[Any, Any]) -> None:
    if (
        len(mapping) == len(before)
        and all(map(is_, mapping.values(), before.values()))
        and list(mapping) == list(before)
    ):
        return
    mapping.clear()
    mapping.update(before)


def _restore_sequence(sequence: list[Any] | deque[Any], before: list[Any]) -> None:
    if len(sequence) != len(before) or any(a is not b for a, b in zip(sequence, before, strict=True)):
        sequence.clear()
        sequence.extend(before)


def _restore_set(members: set[Any], before: set[Any]) -> None:
    if members != before:
        members.clear()
        members.update(before)
