"""A data set as a table: one row for each network."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from deepnets.spaces.timm_weights import architecture_of, tag_of
from deepnets.storage.network_file import NetworkFile

if TYPE_CHECKING:
    from deepnets.datasets.deepnets1m import DeepNets1M

_ARCHITECTURE = (
    *("n_cells", "channels", "bn", "ks", "preproc", "glob_avg", "stem_type", "stem_pool"),
    *("C_mult", "fc_layers", "fc_dim"),
)


def dataset_table(dataset: "DeepNets1M") -> pd.DataFrame:
    """Return a row for each network: its name, size, architecture and measurements."""
    rows, file = np.asarray(dataset.indices(), np.int64), dataset.file
    models = file.models
    names = [models[row] for row in rows.tolist()]
    columns: dict[str, Any] = {"index": rows, "model": names}
    if dataset.split == "timm":
        columns |= {"architecture": [architecture_of(name) for name in names], "tag": [tag_of(name) for name in names]}
    columns |= {"num_nodes": file.num_nodes[rows], "num_edges": np.diff(file.edge_ptr)[rows]}
    if isinstance(file, NetworkFile):
        architectures = file.table(rows)
        columns |= {name: getattr(architectures, name) for name in _ARCHITECTURE}
    targets = dataset.targets(rows)
    columns |= {name: targets[:, position] for position, name in enumerate(dataset.y_names)}
    if "params" in columns:
        columns["params"] = columns["params"].astype(np.int64)
    return pd.DataFrame(columns)
