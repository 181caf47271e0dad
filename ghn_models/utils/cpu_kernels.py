"""Setting of oneDNN, the library that runs convolutions on CPUs; it counts before the first convolution only."""

import os

_CAPACITY = "20000"  # 25 KB each


def keep_primitives() -> None:
    """Enlarge oneDNN's cache of generated code, unless the environment variable of its size is set.

    oneDNN generates several kernels for each shape of a convolution and keeps 1,024 of them. Training meets more
    shapes, and generating kernels again takes 3% of a step.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _CAPACITY)
