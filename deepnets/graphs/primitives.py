"""The 15 primitives: node types of every architecture graph (DeepNets-1M paper, Table 1).

The position in `PRIMITIVES` is the value stored in graphs, files and published checkpoints, so the order
never changes. `conv` also stands for linear layers, which are 1x1 convolutions; `sep_conv` is a grouped
convolution and `dil_conv` a grouped convolution with dilation.
"""

PRIMITIVES = (
    "max_pool",
    "avg_pool",
    "sep_conv",
    "dil_conv",
    "conv",
    "msa",
    "cse",
    "sum",
    "concat",
    "input",
    "bias",
    "bn",
    "ln",
    "pos_enc",
    "glob_avg",
)

PRIMITIVE_INDEX = {name: index for index, name in enumerate(PRIMITIVES)}
