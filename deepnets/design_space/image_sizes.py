"""Image sizes for which the design space is defined."""

IMAGE_SIZES = (32, 224)
"""Sizes of CIFAR and of ImageNet images."""


def check_image_size(image_size: int) -> None:
    """Raise ValueError for a size that the design space does not define."""
    if image_size not in IMAGE_SIZES:
        known = " and ".join(map(str, IMAGE_SIZES))
        raise ValueError(f"image_size is {image_size!r}; architectures are defined for {known}")
