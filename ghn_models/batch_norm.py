"""Batch norm for evaluation without running statistics, which GHNs do not predict."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Put a network in evaluation mode, but let batch norm use the statistics of each batch.

    Predicted parameters are evaluated this way, with 64 images in a batch (DeepNets paper, section C.1). Running
    statistics are neither used nor changed; afterwards the network is in the mode that it was in.

    >>> with batch_statistics(model):
    ...     accuracy = evaluate(model)
    """
    modes = {module: module.training for module in model.modules()}
    norms = {m: m.track_running_stats for m in modes if isinstance(m, _BatchNorm)}
    model.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield model
    finally:
        for module, training in modes.items():
            module.training = training
        for norm, track in norms.items():
            norm.track_running_stats = track
