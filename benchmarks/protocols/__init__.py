"""The protocols, one file each; every file in this folder defines `PROTOCOL`."""

import pkgutil
from importlib import import_module

from benchmarks.core.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    module.name: import_module(f"{__name__}.{module.name}").PROTOCOL for module in pkgutil.iter_modules(__path__)
}


def protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"there is no protocol {name!r}; accepted: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
