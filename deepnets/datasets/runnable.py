"""The networks of a data set as torch modules that run."""

from torch import nn

from deepnets.datasets.traced_splits import initialized_torchvision_model, predefined_model
from deepnets.sampling.splits import SPACE_SPLITS
from deepnets.spaces.registry import get_space
from deepnets.storage.graph_file import GraphFile
from deepnets.storage.network_file import NetworkFile
from deepnets.utils.errors import InputError


def build_network(file: GraphFile, index: int, image_size: int) -> nn.Module:
    """Build network `index` of a file with PyTorch's random initialization.

    Args:
        file: a file of any split.
        index: index of the network.
        image_size: image size of predefined networks, 32 or 224; other networks take theirs from the file.

    Raises:
        InputError: the file holds graphs that were traced from somebody's own models.
    """
    split = file.header.split
    if isinstance(file, NetworkFile):
        return file.architecture(index).build(file.num_classes, file.image_size)
    name = file.models[file.check_index(index)]
    if split in SPACE_SPLITS:
        space = get_space(split)
        return space.build(name, space.num_classes)
    if split == "torchvision74":
        return initialized_torchvision_model(name)
    if split == "predefined":
        return predefined_model(name, image_size)
    raise InputError(f"{name} of the split {split!r} cannot be built: its file holds the graph only")
