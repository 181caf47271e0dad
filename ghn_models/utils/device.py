"""The device that networks run on."""

import torch

from deepnets.utils.errors import InputError, unknown_choice


def check_device(device: str) -> None:
    """Raise InputError if this machine does not have the device."""
    gpus = torch.cuda.device_count()
    accepted = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if device not in accepted:
        raise InputError(unknown_choice("device", device, accepted) + " (there is no CUDA GPU)" * (not gpus))
