"""The device that networks run on."""

import torch

from deepnets.utils.errors import InputError, unknown_choice


def device_or_default(device: str | None) -> str:
    """Return the device that the user names, or the default one: a GPU if there is one.

    Raises:
        InputError: this machine does not have the device.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    return device


def check_device(device: str) -> None:
    """Raise InputError if this machine does not have the device."""
    gpus = torch.cuda.device_count()
    accepted = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if device not in accepted:
        raise InputError(unknown_choice("device", device, accepted) + " (there is no CUDA GPU)" * (not gpus))
