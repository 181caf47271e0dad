"""What oneDNN, which runs convolutions on CPUs, has to be told before it runs the first one."""

import os

_CAPACITY = "20000"  # 25 KB each


def keep_primitives() -> None:
    """Keep the code that oneDNN generates for the shapes of layers, unless the user has set how much of it stays.

    Each convolution needs several pieces for each of its shapes, and networks of any size soon have more than the 1,024
    that are kept otherwise. To make pieces again takes 3% of a training step.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _CAPACITY)
