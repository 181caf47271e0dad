"""All protocols by name. To add one, write its file in this package and a line here."""

from typing import Any

from benchmarks.core.protocol import Protocol
from benchmarks.protocols.detection import Detection
from benchmarks.protocols.finetune import Finetune
from benchmarks.protocols.nas import Nas
from benchmarks.protocols.no_finetune import NoFinetune
from benchmarks.protocols.transfer import Transfer
from deepnets.utils.errors import InputError, unknown_choice

PROTOCOLS: dict[str, Protocol[Any, Any]] = {
    protocol.name: protocol for protocol in (Detection(), Finetune(), Nas(), NoFinetune(), Transfer())
}


def get_protocol(name: str) -> Protocol[Any, Any]:
    """Return the protocol of this name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(unknown_choice("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]
