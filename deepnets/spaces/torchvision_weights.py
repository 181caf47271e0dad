"""PyTorch-74 (GHN-3 paper, Table 20): ImageNet accuracies of the oldest weights of each model, from torchvision."""

from functools import cache

from deepnets.spaces.tables import Truth, read_table, truth_from_table


@cache
def torchvision74_truth() -> Truth:
    """Return numbers of parameters, and accuracies in percent, of the weights called IMAGENET1K_V1."""
    table = read_table("torchvision74")
    columns = {column: column for column in ("params", "imagenet_top1", "imagenet_top5")}
    return truth_from_table(table, table["model"], columns)
