"""Batch norm without running statistics, which GHNs do not predict."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Within it the network is in evaluation mode, but batch norm uses the statistics of each batch.

    This is how predicted parameters are evaluated, with 64 images in a batch (DeepNets paper, section C.1). Running
    statistics are neither used nor changed; afterwards everything is as before.
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
