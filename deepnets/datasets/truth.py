"""Measurements of the networks of a data set: the targets `y` of its graphs.

Splits of trained architectures and PyTorch-74 have published measurements (`deepnets.spaces`), and networks of the
design space have their number of parameters.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from deepnets.spaces.torchvision_weights import torchvision74_truth
from deepnets.storage.graph_file import GraphFile
from deepnets.storage.network_file import NetworkFile
from deepnets.storage.truth_columns import read_truth
from deepnets.symbolic.builder import count_parameters

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_RECORDED_CHANNELS = 32
_RECORDED_CLASSES = 10


class Targets(ABC):
    """Measurements of the networks of a file.

    Args:
        names: names of the measurements, one for each column.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    @abstractmethod
    def rows(self, index: Ints | slice) -> Floats:
        """Return the measurements (B, T) of the networks at `index`, NaN where there is none."""


class RecordedTargets(Targets):
    """Measurements that are known for all networks."""

    def __init__(self, names: tuple[str, ...], values: Floats) -> None:
        super().__init__(names)
        self.values = values

    def rows(self, index: Ints | slice) -> Floats:
        return self.values[index]


class ParameterTargets(Targets):
    """Numbers of parameters of networks of the design space, with the widths and the classes of the opened file.

    The file records them for 32 channels and 10 classes; for networks with other widths they are counted once, when
    they are first asked for.
    """

    def __init__(self, file: NetworkFile) -> None:
        super().__init__(("params",))
        self._file = file
        self._counted: Ints | None = None
        channels = file.file.column(f"architectures/channels_{file.image_size}")
        self._recorded = file.num_params()
        self._is_recorded = bool((channels[:] == _RECORDED_CHANNELS).all())

    def rows(self, index: Ints | slice) -> Floats:
        if self._is_recorded:
            counts = self._recorded[index].astype(np.int64)
            if self._file.num_classes != _RECORDED_CLASSES:
                more_classes = self._file.num_classes - _RECORDED_CLASSES
                counts += more_classes * (self._classifier_inputs(index) + 1)
        else:
            if self._counted is None:
                table = self._file.table(slice(0, len(self._file)))
                self._counted = count_parameters(table, self._file.image_size, self._file.num_classes)
            counts = self._counted[index]
        return counts[:, None].astype(np.float64)

    def _classifier_inputs(self, index: Ints | slice) -> Ints:
        """Return the number of inputs of the last layer of each network."""
        graphs, shapes = self._file.read(index)
        widths: NDArray[np.int64] = shapes[graphs.node_ptr[1:] - 2, 1]
        return widths


def open_targets(file: GraphFile) -> Targets:
    """Return the measurements of the networks of a file."""
    if isinstance(file, NetworkFile):
        return ParameterTargets(file)
    if file.header.split == "torchvision74":
        truth = torchvision74_truth()
        rows = [truth.keys.index(name) for name in file.models]
        return RecordedTargets(truth.names, truth.values[rows])
    return RecordedTargets(*read_truth(file.file))
