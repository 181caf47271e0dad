"""All protocols by name; a new one needs a file in this package and a line here."""

from benchmarks.core.protocol import Protocol
from benchmarks.protocols import detection, finetune, nas, no_finetune, transfer
from deepnets.utils.errors import unknown_choice

PROTOCOLS: dict[str, Protocol] = {
    module.PROTOCOL.name: module.PROTOCOL for module in (detection, finetune, nas, no_finetune, transfer)
}


def get_protocol(name: str) -> Protocol:
    """Return the protocol of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(unknown_choice("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]
