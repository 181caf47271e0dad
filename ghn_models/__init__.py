"""Graph hypernetworks: MLP, GHN-1, GHN-2 and GHN-3. See README.md for a tour.

Names are imported on first use, so that the command line starts quickly.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CheckpointError": "ghn_models.checkpoints.folder",
    "GHN": "ghn_models.hypernetwork",
    "GHNConfig": "ghn_models.config",
    "GraphBatch": "ghn_models.inputs.graph_batch",
    "add_noise": "ghn_models.postprocess",
    "batch_statistics": "ghn_models.batch_norm",
    "create": "ghn_models.registry",
    "list_models": "ghn_models.registry",
    "load": "ghn_models.registry",
    "orthogonalize": "ghn_models.postprocess",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ghn_models' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
