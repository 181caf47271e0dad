"""Image sizes for which the design space is defined."""

IMAGE_SIZES = (32, 224)
"""Sizes of CIFAR and of ImageNet images."""


def check_image_size(image_size: int) -> None:
    """Raise ValueError for an image size other than 32 and 224."""
    if image_size not in IMAGE_SIZES:
        sizes = " and ".join(map(str, IMAGE_SIZES))
        raise ValueError(f"image_size is {image_size!r}; architectures are defined for {sizes}")
