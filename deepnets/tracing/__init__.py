"""Tracing: the architecture graph of any nn.Module. `deepnets.tracing.register` is for operators of your own."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "register":
        raise AttributeError(f"module 'deepnets.tracing' has no attribute {name!r}")
    from deepnets.tracing.rules.user_rules import register

    return register
