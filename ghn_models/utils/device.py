"""Where networks run."""

import torch


def check_device(device: str) -> None:
    """Raise ValueError if there is no such device."""
    gpus = torch.cuda.device_count()
    accepted = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if device not in accepted:
        what = "" if gpus else " (there is no CUDA GPU)"
        raise ValueError(f"there is no device {device!r}{what}; accepted: {', '.join(accepted)}")
