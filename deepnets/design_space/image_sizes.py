"""Image sizes for which the design space is defined."""

from deepnets.utils.errors import InputError

IMAGE_SIZES = (32, 224)
"""Sizes of CIFAR and of ImageNet images."""


def check_image_size(image_size: int) -> None:
    """Raise InputError for an image size other than 32 and 224."""
    if image_size not in IMAGE_SIZES:
        sizes = " and ".join(map(str, IMAGE_SIZES))
        raise InputError(f"image_size is {image_size!r}; architectures are defined for {sizes}")
