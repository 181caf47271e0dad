"""The state of a model: every attribute that can be reached from it, to compare before and after."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

State = list[tuple[str, int, Any]]


def state_of(model: nn.Module) -> State:
    """Every attribute that can be reached from a model: where it is, its identity, and its value."""
    return list(walk("model", model, set()))


def walk(path: str, item: Any, seen: set[int]) -> Iterator[tuple[str, int, Any]]:
    value = item.detach().clone() if isinstance(item, Tensor) and not item.is_meta else None
    yield path, id(item), value
    if id(item) in seen:
        return
    seen.add(id(item))
    if isinstance(item, nn.Module):
        yield from walk(f"{path}.__dict__", vars(item), seen)
    elif isinstance(item, dict):
        for key, member in item.items():
            yield from walk(f"{path}[{key!r}]", member, seen)
    elif isinstance(item, list | tuple):
        for position, member in enumerate(item):
            yield from walk(f"{path}[{position}]", member, seen)


def assert_same(before: State, after: State) -> None:
    assert [(path, identity) for path, identity, _ in before] == [(path, identity) for path, identity, _ in after]
    for (path, _, old), (_, _, new) in zip(before, after, strict=True):
        assert old is None or torch.equal(old, new), path
